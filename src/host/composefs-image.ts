import fs from "node:fs";
import path from "node:path";
import { isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { Descriptor } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { findImage, openImage, openImageFile } from "#stores/composefs/image-file.ts";
import { listComposefsImages } from "#stores/composefs/images.ts";
import { erofsName, readImage } from "#stores/composefs/oci-images.ts";
import { openRepository, type Repository, repositoryExists } from "#stores/composefs/repository.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { isNamed } from "./find.ts";
import { parseReference, storedName } from "#image/reference.ts";

/** A composefs image as the user names it. */
export interface ImageName {
  /** The folder of the composefs repository. */
  readonly repository: string;
  /** A digest in hex, a ref below `images/refs`, or a path that begins with a slash or a dot. */
  readonly image: string;
}

/** An image file that is open; what is in it is not verified. */
export interface NamedImage extends Disposable {
  readonly file: Descriptor;
  /** Absent for an image beside which there is no repository: mkcomposefs makes objects without one. */
  readonly repository: Repository | undefined;
  /** What the image must be; absent for one that is named by its path. */
  readonly id: ObjectId | undefined;
  /** The folder of the objects. */
  readonly objects: string;
}

/** Errors: "not-found", "corrupt" for what is no file, "unsupported". */
export function openNamedImage({ repository: directory, image }: ImageName): NamedImage {
  const folder = path.resolve(directory);
  const isFile = isPath(image);
  const repository = isFile && !repositoryExists(folder) ? undefined : openReadable(folder);
  const id = repository === undefined || isFile ? undefined : findImage(repository, image);
  const file = repository === undefined || id === undefined ? openImageFile(image) : openImage(repository, id);
  return {
    file,
    repository,
    id,
    objects: path.join(folder, "objects"),
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/**
 * The name of a composefs image, where the user may have named the container image that it was made of, by a tag or
 * its manifest's digest: then that of its tree as it is, with `bootable` as it boots. Errors: "not-found", "corrupt",
 * "usage" where `bootable` has no meaning.
 */
export async function nameOfImage({ repository: directory, image }: ImageName, bootable: boolean): Promise<string> {
  const folder = path.resolve(directory);
  if (!isPath(image) && !repositoryExists(folder) && fs.existsSync(image)) {
    throw new OneholdError("not-found", `no composefs repository at ${folder}, in which ${image} would be an image`, {
      subject: image,
      hint: `Write ./${image} for the file of that name.`,
    });
  }
  const tagged = isPath(image) ? undefined : await imageOfTag(openReadable(folder), image, bootable);
  if (tagged !== undefined) return tagged;
  if (!bootable) return image;
  throw new OneholdError("usage", `${image} is not the tag of a container image, so --bootable has no choice`, {
    subject: image,
    hint: "Leave --bootable out, or name the image as `onehold image list` does.",
  });
}

function isPath(image: string): boolean {
  return /^[./]/.test(image);
}

async function imageOfTag(repository: Repository, text: string, boot: boolean): Promise<ObjectId | undefined> {
  const name = nameInStore(text);
  const found = listComposefsImages(repository).find(({ manifestDigest, tags }) =>
    isDigest(text)
      ? manifestDigest === text
      : tags.some((tag) => tag === text || (name !== undefined && isNamed(tag, name))),
  );
  const image = found && (await readImage(repository, found.manifestDigest));
  if (image === undefined) return undefined;
  const { format, extraFormats } = repository.meta;
  const ids = [format, ...extraFormats].map((each) => image.erofs.get(erofsName({ format: each, boot })));
  const id = ids.find((each) => each !== undefined);
  if (id !== undefined) return id;
  const what = boot ? "bootable composefs image" : "composefs image";
  throw new OneholdError("not-found", `${text} is in ${repository.path}, but there is no ${what} of it`, {
    subject: text,
    hint: "Its tree can't be one; `onehold image pull` says why.",
  });
}

/** As `image list` shows it. */
function nameInStore(text: string): string | undefined {
  try {
    return storedName(parseReference(text));
  } catch {
    return undefined; // A digest of ours, or a ref, may be no name of an image.
  }
}

/** ext4 opens no file that has fs-verity where the kernel was built without. */
export function openReadable(folder: string): Repository {
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
