import type { Digest } from "#base/digest.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { writeTag } from "#stores/composefs/streams.ts";
import { deploymentRef, isBlobRef, listRefs, writeRef } from "#stores/ostree/refs.ts";
import type { Inventory } from "./inventory.ts";
import { pinTagOf, type RootSet } from "./root-set.ts";

/** Roots that a sweep of the store would take. */
export interface Unprotected {
  /** Commits of deployments that have no ref: libostree gives them one, but not at once. */
  readonly inOstree: readonly Checksum[];
  /** Images whose tag has moved on. */
  readonly inComposefs: readonly Digest[];
}

/** `without`: as if these refs and tags were gone. */
export function findUnprotected(
  { ostree, inComposefs }: Inventory,
  { deployed, reasons }: RootSet,
  without: ReadonlySet<string> = new Set(),
): Unprotected {
  const refs = ostree === undefined ? [] : [...listRefs(ostree)];
  const kept = new Set(refs.filter(([ref]) => !without.has(ref) && !isBlobRef(ref)).map(([, commit]) => commit));
  return {
    inOstree: ostree === undefined ? [] : [...deployed].filter((commit) => !kept.has(commit)),
    inComposefs: inComposefs
      .filter(({ manifestDigest, tags }) => reasons.has(manifestDigest) && tags.every((tag) => without.has(tag)))
      .map(({ manifestDigest }) => manifestDigest),
  };
}

/** Before a store is swept, whoever does it. */
export function protect({ ostree, composefs }: Inventory, { inOstree, inComposefs }: Unprotected): void {
  if (ostree !== undefined) for (const commit of inOstree) writeRef(ostree, deploymentRef(commit), commit);
  if (composefs !== undefined) for (const digest of inComposefs) writeTag(composefs, pinTagOf(digest), digest);
}
