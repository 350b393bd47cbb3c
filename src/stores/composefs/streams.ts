import path from "node:path";
import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { maxSplitstream, parseSplitstream, type SplitstreamHead } from "#formats/splitstream.ts";
import { damaged, hasObject, readObject } from "./objects.ts";
import { deleteRef, linkedObject, listRefs, nameOfRef, writeRef } from "./links.ts";
import type { Repository } from "./repository.ts";

/** The names of an image's streams in `streams/`, as composefs-rs gives them. */
export function layerStreamName(diffId: Digest): string {
  return `oci-layer-${diffId}`;
}

export function configStreamName(digest: Digest): string {
  return `oci-config-${digest}`;
}

export const manifestPrefix = "oci-manifest-";

export function manifestStreamName(digest: Digest): string {
  return manifestPrefix + digest;
}

/** The manifest's digest in the name of its stream; `undefined` for any other stream. */
export function manifestOfStreamName(name: string): Digest | undefined {
  const digest = name.startsWith(manifestPrefix) ? name.slice(manifestPrefix.length) : "";
  return isDigest(digest) ? digest : undefined;
}

const tagFolder = "oci";

/** The ref, below `streams/refs`, of a tag: any text of 1 to 255 bytes once encoded, but for a leading `@`. */
export function tagRef(tag: string): string {
  const encoded = tag.replaceAll("%", "%25").replaceAll("/", "%2F");
  if (
    encoded === "" ||
    tag.startsWith("@") ||
    tag === "." ||
    tag === ".." ||
    tag.includes("\0") ||
    Buffer.byteLength(encoded) > 255
  ) {
    throw new OneholdError("unsupported", `${JSON.stringify(tag)} can't be a tag in a composefs repository`);
  }
  return path.join(tagFolder, encoded);
}

/** The tag in a ref; `undefined` for any other ref. */
export function tagOfRef(ref: string): string | undefined {
  const [folder, encoded, more] = ref.split("/");
  if (folder !== tagFolder || encoded === undefined || more !== undefined) return undefined;
  return encoded.replaceAll("%2F", "/").replaceAll("%25", "%");
}

/** Every tag, and the stream that it means. */
export function listTags(repository: Repository): Map<string, string> {
  const tags = new Map<string, string>();
  for (const link of listRefs(repository, "streams")) {
    const tag = tagOfRef(Buffer.from(link.name, "latin1").toString());
    if (tag !== undefined) tags.set(tag, nameOfRef(link));
  }
  return tags;
}

/** Gives an image, which is there, a tag; whom the tag meant before has it no more. */
export function writeTag(repository: Repository, tag: string, manifestDigest: Digest): void {
  writeRef(repository, "streams", tagRef(tag), manifestStreamName(manifestDigest));
}

/** Takes a tag away; what it alone kept goes with the next sweep. */
export function deleteTag(repository: Repository, tag: string): boolean {
  return deleteRef(repository, "streams", tagRef(tag));
}

/** @throws "corrupt" where the object is missing, not what its name says, or no stream; "unsupported" */
export function readStream(repository: Repository, id: ObjectId): SplitstreamHead {
  const bytes = readObject(repository, id, maxSplitstream);
  if (bytes === undefined) throw damaged(repository, id, "is missing");
  return parseSplitstream(bytes, repository.meta.algorithm);
}

/**
 * The stream of a layer, where the repository has it with all that it refers to: an import need not read the layer
 * again. `undefined` also where something is missing or damaged, so that an import makes it anew.
 */
export function findLayerStream(repository: Repository, diffId: Digest): ObjectId | undefined {
  const id = linkedObject(repository, "streams", layerStreamName(diffId));
  if (id === undefined) return undefined;
  try {
    for (const object of readStream(repository, id).objectRefs) if (!hasObject(repository, object)) return undefined;
    return id;
  } catch (error) {
    if (error instanceof OneholdError && (error.code === "corrupt" || error.code === "unsupported")) return undefined;
    throw error;
  }
}
