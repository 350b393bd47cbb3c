import type { Digest } from "#base/digest.ts";
import { isDigest } from "#base/digest.ts";
import { parseManifest } from "#formats/oci.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { blobRef, imageOfRef, isBlobRef, listRefs } from "./refs.ts";
import { isWholeCommit, readMetadataObject, type Repository } from "./repository.ts";

/** An image as the repository holds it: a merge commit that some ref protects. */
export interface OstreeImage {
  readonly commit: Checksum;
  readonly manifestDigest: Digest;
  /** The manifest as ostree-ext keeps it: canonical JSON, not the bytes that the digest is of. */
  readonly manifest: string;
  /** All refs at the commit. */
  readonly refs: readonly string[];
  /** The image references among them. */
  readonly references: readonly string[];
}

/** Every image in the repository, whoever imported it. Refs at what is no container image are passed over. */
export function listOstreeImages(repository: Repository): OstreeImage[] {
  const refsOf = new Map<Checksum, string[]>();
  for (const [ref, commit] of listRefs(repository)) refsOf.set(commit, [...(refsOf.get(commit) ?? []), ref]);
  const images: OstreeImage[] = [];
  for (const [commit, refs] of refsOf) {
    if (!isWholeCommit(repository, commit)) continue;
    const described = describeCommit(repository, commit);
    if (described === undefined) continue;
    const references = refs.map(imageOfRef).filter((reference) => reference !== undefined);
    images.push({ commit, ...described, refs, references });
  }
  return images;
}

/**
 * Refs of layers that no image needs any more: neither one with a ref of its own, nor one that a deployment or
 * another program protects. ostree-ext drops the same ones when it cleans up. `without`: as if these refs were gone.
 */
export function unneededLayerRefs(repository: Repository, without: ReadonlySet<string> = new Set()): string[] {
  const refs = new Map([...listRefs(repository)].filter(([ref]) => !without.has(ref)));
  const needed = new Set<string>();
  // An image that is not whole (a pull or fsck left it so) needs its layers all the more.
  for (const commit of new Set([...refs].filter(([ref]) => !isBlobRef(ref)).map(([, at]) => at))) {
    const described = describeCommit(repository, commit);
    if (described === undefined) continue;
    for (const layer of parseManifest(Buffer.from(described.manifest)).layers) needed.add(blobRef(layer.digest));
  }
  return [...refs.keys()].filter((ref) => isBlobRef(ref) && !needed.has(ref));
}

/** The image that a commit is of. @throws OneholdError "corrupt" */
export function imageDigestOf(repository: Repository, commit: Checksum): Digest | undefined {
  return describeCommit(repository, commit)?.manifestDigest;
}

function describeCommit(
  repository: Repository,
  commit: Checksum,
): { manifestDigest: Digest; manifest: string } | undefined {
  const bytes = readMetadataObject(repository, commit, "commit");
  if (bytes === undefined) return undefined;
  const { metadata } = parseCommit(bytes);
  const text = (key: string) => {
    const entry = metadata.find((candidate) => candidate.key === key);
    return entry?.type === "s" ? entry.value : undefined;
  };
  const manifestDigest = text("ostree.manifest-digest");
  const manifest = text("ostree.manifest");
  return manifestDigest !== undefined && manifest !== undefined && isDigest(manifestDigest)
    ? { manifestDigest, manifest }
    : undefined;
}
