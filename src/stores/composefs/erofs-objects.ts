import { type ObjectId, objectIdOf } from "#formats/composefs-objects.ts";
import { backingFilesOf } from "#formats/erofs-objects.ts";

/**
 * The objects that an EROFS image takes its files' contents from: by the digest that it demands, else by the path. The
 * image is checked as a whole. @throws "corrupt"
 */
export function objectsOfErofs(image: Buffer): ObjectId[] {
  return backingFilesOf(image).map(({ path, digest }) =>
    digest === undefined ? (path.replace("/", "") as ObjectId) : objectIdOf(digest),
  );
}
