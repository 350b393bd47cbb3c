import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { isErrno } from "#linux/system-error.ts";
import { verifyImageFile } from "#stores/composefs/image-file.ts";
import { type MountedImage, mountComposefs, unmountComposefs } from "#stores/composefs/mount.ts";
import { type ImageName, openNamedImage } from "./composefs-image.ts";

export interface MountRequest extends ImageName {
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
  using image = openNamedImage(request);
  const { id } = image;
  const secure = image.repository?.secure === true;
  const { digest = id } = request;
  for (const demanded of new Set([digest, id])) {
    if (demanded !== undefined) verifyImageFile(image.file.fd, demanded, secure);
  }
  const mounted = mountComposefs(
    {
      imageFd: image.file.fd,
      name: request.image,
      digest,
      objects: image.objects,
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
