import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { isErrno } from "#linux/system-error.ts";
import { findImage, openImage, openImageFile, verifyImageFile } from "#stores/composefs/image-file.ts";
import { type MountedImage, mountComposefs, unmountComposefs } from "#stores/composefs/mount.ts";
import { openRepository, type Repository, repositoryExists } from "#stores/composefs/repository.ts";

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
  const folder = path.resolve(request.repository);
  const isFile = /^[./]/.test(request.image);
  // mkcomposefs makes objects without a repository around them.
  const repository = isFile && !repositoryExists(folder) ? undefined : openReadable(folder);
  const secure = repository?.secure === true;
  const id = repository === undefined || isFile ? undefined : findImage(repository, request.image);
  using image = repository === undefined || id === undefined ? openImageFile(request.image) : openImage(repository, id);
  const { digest = id } = request;
  for (const demanded of new Set([digest, id])) {
    if (demanded !== undefined) verifyImageFile(image.fd, demanded, secure);
  }
  const mounted = mountComposefs(
    {
      imageFd: image.fd,
      name: request.image,
      digest,
      objects: path.join(folder, "objects"),
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

/** ext4 opens no file that has fs-verity where the kernel was built without. */
function openReadable(folder: string): Repository {
  try {
    return openRepository(folder);
  } catch (error) {
    if (!isErrno(error, "EOPNOTSUPP")) throw error;
    throw new OneholdError("unsupported", `this kernel can't read ${folder}: its files have fs-verity`, {
      cause: error,
      subject: folder,
      hint: "Boot a kernel with CONFIG_FS_VERITY.",
    });
  }
}
