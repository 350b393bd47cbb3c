import fs from "node:fs";
import path from "node:path";
import type { Digest } from "#base/digest.ts";
import { canonicalJson } from "#formats/canonical-json.ts";
import { type CommitMetadataEntry, parseMetadata, serializeMetadata } from "#formats/ostree-metadata.ts";
import { type Checksum, objectPath } from "#formats/ostree-objects.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Repository } from "./repository.ts";

/** What a registry has for a deployed image now. */
export interface CachedUpdate {
  readonly manifestDigest: Digest;
  readonly manifest: Buffer;
  readonly config: Buffer;
}

/**
 * Notes, as ostree-ext does, what the last look for an update found: beside the merge commit of the image that is
 * deployed. What else is there (signatures) stays.
 */
export function writeCachedUpdate(repository: Repository, commit: Checksum, update: CachedUpdate): void {
  const file = path.join(repository.path, "objects", objectPath(commit, "commit")).replace(/commit$/, "commitmeta");
  const ours: CommitMetadataEntry[] = [
    { key: "ostree-ext.cached.manifest-digest", type: "s", value: update.manifestDigest },
    { key: "ostree-ext.cached.manifest", type: "s", value: canonicalJson(update.manifest) },
    { key: "ostree-ext.cached.config", type: "s", value: canonicalJson(update.config) },
  ];
  const others = readEntries(file).filter(({ key }) => !ours.some((each) => each.key === key));
  writeFileDurably(file, serializeMetadata([...others, ...ours]));
}

function readEntries(file: string): readonly CommitMetadataEntry[] {
  try {
    return parseMetadata(fs.readFileSync(file), file);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}
