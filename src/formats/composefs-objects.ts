import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { OneholdError } from "#base/errors.ts";
import { verityDigestSize } from "./fs-verity.ts";

/** Names an object of a composefs repository: the fs-verity digest of its content, in lower-case hex. */
export type ObjectId = string & { readonly __brand: "ObjectId" };

/** Content of at most this many bytes is part of images and layer streams; more is an object of its own. */
export const inlineLimit = 64;

export function objectIdOf(digest: Buffer): ObjectId {
  return digest.toString("hex") as ObjectId;
}

export function isObjectId(text: string, algorithm: VerityAlgorithm): text is ObjectId {
  return text.length === verityDigestSize(algorithm) * 2 && /^[0-9a-f]+$/.test(text);
}

/** @throws OneholdError "corrupt" */
export function parseObjectId(text: string, algorithm: VerityAlgorithm): ObjectId {
  if (isObjectId(text, algorithm)) return text;
  throw new OneholdError("corrupt", `${JSON.stringify(text)} is not a ${algorithm} fs-verity digest in hex`);
}

/** Below the repository's folder of objects. */
export function objectPathOf(id: ObjectId): string {
  return `${id.slice(0, 2)}/${id.slice(2)}`;
}
