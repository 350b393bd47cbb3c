import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { openFile } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { measureVerity } from "#linux/verity.ts";
import { openImageFile, verifyImageFile } from "#stores/composefs/image-file.ts";
import { type MountedImage, mountComposefs, unmountComposefs } from "#stores/composefs/mount.ts";

export interface MountRequest {
  /** The folder of the composefs repository. */
  readonly repository: string;
  /** A digest in hex, a ref, or a path that begins with a slash or a dot. */
  readonly image: string;
  readonly directory: string;
  /** The fs-verity digest that the image must have, in hex. */
  readonly digest?: string;
}

export interface MountResult extends MountedImage {
  readonly directory: string;
  /** What the image was verified to be; undefined for a file that nothing was demanded of. */
  readonly digest: string | undefined;
  /** Whether the kernel refuses objects that are not what the image names. */
  readonly verity: boolean;
}

/**
 * Mounts a composefs image at a directory, in the namespace of the caller. An image of a repository must be what
 * its name says; where the repository is secure (its meta.json has fs-verity), so must every object that is read.
 * Errors: those of `mountComposefs`, and "corrupt" for an image of another digest.
 */
export function mountImage(request: MountRequest): MountResult {
  const directory = existingDirectory(request.directory);
  const repository = path.resolve(request.repository);
  const secure = isSecure(repository);
  using image = openImageFile(repository, request.image);
  const { digest = image.promised } = request;
  for (const demanded of new Set([digest, image.promised])) {
    if (demanded !== undefined) verifyImageFile(image.fd, demanded, secure);
  }
  const mounted = mountComposefs(
    {
      imageFd: image.fd,
      name: request.image,
      digest,
      objects: path.join(repository, "objects"),
      requireVerity: secure,
    },
    directory,
  );
  return { directory, digest, verity: secure, ...mounted };
}

/** Undoes `mountImage`. Errors: "not-found", "busy". */
export function unmountImage(directory: string): void {
  unmountComposefs(existingDirectory(directory));
}

/** Without symlinks, as the table of mounts has it. */
function existingDirectory(directory: string): string {
  try {
    const real = fs.realpathSync(directory);
    if (fs.statSync(real).isDirectory()) return real;
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
  }
  throw new OneholdError("not-found", `${directory} is not a directory`, {
    subject: directory,
    hint: "Make the directory first.",
  });
}

/** A repository without meta.json, as mkcomposefs makes them, is not. */
function isSecure(repository: string): boolean {
  try {
    using meta = openFile(path.join(repository, "meta.json"), fs.constants.O_RDONLY);
    return typeof measureVerity(meta.fd) === "object";
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false;
    // ext4 opens no file that has fs-verity where the kernel was built without.
    if (!isErrno(error, "EOPNOTSUPP")) throw error;
    throw new OneholdError("unsupported", `this kernel can't read ${repository}: its files have fs-verity`, {
      cause: error,
      subject: repository,
      hint: "Boot a kernel with CONFIG_FS_VERITY.",
    });
  }
}
