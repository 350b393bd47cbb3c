import fs from "node:fs";
import path from "node:path";
import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { type ImageConfig, parseConfig } from "#formats/oci.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import { type CommitMetadataEntry, parseMetadata } from "#formats/ostree-metadata.ts";
import { type Checksum, objectPath } from "#formats/ostree-objects.ts";
import { isErrno, toSystemError } from "#linux/system-error.ts";
import { readMetadataObject, type Repository } from "./repository.ts";

/** What ostree-ext keeps of an image with its merge commit. */
export interface CommittedImage {
  readonly manifestDigest: Digest;
  readonly config: ImageConfig;
}

/** undefined: the commit is there and of no container image. @throws OneholdError "corrupt", "not-found" */
export function imageOfCommit(repository: Repository, commit: Checksum): CommittedImage | undefined {
  const bytes = readMetadataObject(repository, commit, "commit");
  if (bytes === undefined) {
    throw new OneholdError("not-found", `commit ${commit} is not in the ostree repository ${repository.path}`, {
      subject: repository.path,
      hint: "Run `ostree fsck` on the repository.",
    });
  }
  const keys = { digest: "ostree.manifest-digest", config: "ostree.container.image-config" };
  return documentsIn(parseCommit(bytes).metadata, keys);
}

/** What the last look for an update found at the registry: ostree-ext keeps it beside the commit. */
export function cachedUpdateOfCommit(repository: Repository, commit: Checksum): CommittedImage | undefined {
  const file = path.join(repository.path, "objects", objectPath(commit, "commit")).replace(/commit$/, "commitmeta");
  const bytes = readDetached(file);
  if (bytes === undefined) return undefined;
  const keys = { digest: "ostree-ext.cached.manifest-digest", config: "ostree-ext.cached.config" };
  return documentsIn(parseMetadata(bytes, file), keys);
}

/** Bytes. A manifest and a config have 4 MiB each at most. */
const maxDetached = 16 << 20;

function readDetached(file: string): Buffer | undefined {
  try {
    const { size } = fs.statSync(file);
    if (size <= maxDetached) return fs.readFileSync(file);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw toSystemError(error);
  }
  throw new OneholdError("corrupt", `${file} has more than ${maxDetached} bytes`, { subject: file });
}

function documentsIn(
  metadata: readonly CommitMetadataEntry[],
  keys: { readonly digest: string; readonly config: string },
): CommittedImage | undefined {
  const text = (key: string) => {
    const entry = metadata.find((candidate) => candidate.key === key);
    return entry?.type === "s" ? entry.value : undefined;
  };
  const manifestDigest = text(keys.digest);
  const config = text(keys.config);
  if (manifestDigest === undefined || config === undefined || !isDigest(manifestDigest)) return undefined;
  return { manifestDigest, config: parseConfig(Buffer.from(config)) };
}
