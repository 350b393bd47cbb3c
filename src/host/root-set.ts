import type { Digest } from "#base/digest.ts";
import { formatReference, parseReference } from "#image/reference.ts";
import type { ComposefsImage } from "#stores/composefs/images.ts";
import type { OstreeImage } from "#stores/ostree/images.ts";
import { isBlobRef, isOfImage } from "#stores/ostree/refs.ts";
import { listDeploymentRecords } from "./deployment/records.ts";
import { listPins } from "./pins.ts";
import type { Sysroot } from "./sysroot.ts";

/** The manifest digests that must stay, each with its reasons, in words for people. */
export type RootSet = ReadonlyMap<Digest, readonly string[]>;

/** The one answer to "may this go?": every store sweeps against it. */
export function rootSet(
  sysroot: Sysroot,
  inOstree: readonly OstreeImage[],
  inComposefs: readonly ComposefsImage[],
): RootSet {
  const roots = new Map<Digest, string[]>();
  const add = (digest: Digest, reason: string) => {
    const reasons = roots.get(digest) ?? [];
    if (!reasons.includes(reason)) roots.set(digest, [...reasons, reason]);
  };
  for (const pin of listPins(sysroot)) add(pin.digest, `pinned as ${pin.reference}`);
  for (const { manifestDigest, tags } of inComposefs)
    for (const tag of tags.filter((each) => !isReferenceTag(each) && !isPinTag(each)))
      add(manifestDigest, `kept by the composefs tag ${tag}`);
  for (const { manifestDigest, refs } of inOstree)
    for (const ref of refs.filter((each) => !isOfImage(each) && !isBlobRef(each))) add(manifestDigest, reasonOf(ref));
  for (const { name, record } of listDeploymentRecords(sysroot)) {
    add(record.digest, "deployed");
    for (const { image, digest } of record.boundImages) add(digest, `bound to ${name.slice(0, 12)} as ${image}`);
  }
  return roots;
}

/** Of a ref that another program has made. libostree gives each deployment a ref `ostree/<boot version>/<subversion>/<index>`. */
function reasonOf(ref: string): string {
  return /^ostree\/[01]\/[01]\/\d+$/.test(ref) ? "deployed" : `kept by the ostree ref ${ref}`;
}

const pinTag = "onehold/pinned/";

/** The tag that keeps a pinned image in a composefs repository, whoever sweeps it. */
export function pinTagOf(digest: Digest): string {
  return pinTag + digest;
}

export function isPinTag(tag: string): boolean {
  return tag.startsWith(pinTag);
}

/** Whether a tag of a composefs repository says where an image came from, as those do that a pull makes. */
export function isReferenceTag(tag: string): boolean {
  try {
    return formatReference(parseReference(tag)) === tag;
  } catch {
    return false;
  }
}
