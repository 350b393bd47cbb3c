import { join } from "node:path";
import { hash } from "node:crypto";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { bigDataName, imageDataFolder } from "./layout.ts";
import { maxImageData, readBounded } from "./bounded-file.ts";

/** Whose data: an image record and the graph root that it is in. */
export interface ImageDataOwner {
  readonly root: string;
  readonly id: string;
}

function imageDataFile(image: ImageDataOwner, key: string): string {
  return join(imageDataFolder(image.root, image.id), bigDataName(key));
}

/** The bytes kept under a key, which must have that digest. @throws not-found, corrupt */
export function readImageData(image: ImageDataOwner, key: string, digest: Digest): Buffer {
  const path = imageDataFile(image, key);
  const bytes = readBounded(path, maxImageData);
  if (bytes === undefined) {
    throw new OneholdError("not-found", `the image store has lost ${key} of image ${image.id}: there is no ${path}`, {
      subject: path,
      hint: "Remove the image and pull it again.",
    });
  }
  if (digestOf(bytes, digest) === digest) return bytes;
  throw new OneholdError("corrupt", `${path} does not have the digest ${digest}`, {
    subject: path,
    hint: "Remove the image and pull it again.",
  });
}

/** With the algorithm of `like`. */
function digestOf(bytes: Buffer, like: Digest): string {
  const algorithm = like.slice(0, like.indexOf(":"));
  return `${algorithm}:${hash(algorithm, bytes, "hex")}`;
}
