import { displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { type ObjectId, objectIdOf, parseObjectId } from "#formats/composefs-objects.ts";
import { backingFilesOf } from "#formats/erofs-objects.ts";

/** Bytes; composefs-rs takes no larger image. */
export const maxImage = 1 << 30;

/**
 * The objects that hold the contents of an EROFS image's files: by the digests in it, or by their paths where it has
 * none. All of the image is checked.
 * @throws "corrupt", "unsupported" for what is no composefs image, or takes contents from elsewhere
 */
export function objectsOfImage(image: Buffer, algorithm: VerityAlgorithm): ObjectId[] {
  return backingFilesOf(image).map(({ digest, path }) => {
    if (digest !== undefined) return objectIdOf(digest);
    const [, first, rest] = /^\/?([0-9a-f]{2})\/([0-9a-f]+)$/.exec(path) ?? [];
    if (first !== undefined && rest !== undefined) return parseObjectId(first + rest, algorithm);
    throw new OneholdError(
      "corrupt",
      `a composefs image takes content from "${displayBytes(path)}", which is no object`,
    );
  });
}
