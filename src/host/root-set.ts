import type { Digest } from "#base/digest.ts";
import type { OstreeImage } from "#stores/ostree/images.ts";
import { isBlobRef, isOfImage } from "#stores/ostree/refs.ts";
import { listPins } from "./pins.ts";
import type { Sysroot } from "./sysroot.ts";

/** The manifest digests that must stay, each with its reasons, in words for people. */
export type RootSet = ReadonlyMap<Digest, readonly string[]>;

/** The one answer to "may this go?": every store sweeps against it. */
export function rootSet(sysroot: Sysroot, projected: readonly OstreeImage[]): RootSet {
  const roots = new Map<Digest, string[]>();
  const add = (digest: Digest, reason: string) => {
    const reasons = roots.get(digest) ?? [];
    if (!reasons.includes(reason)) roots.set(digest, [...reasons, reason]);
  };
  for (const pin of listPins(sysroot)) add(pin.digest, `pinned as ${pin.reference}`);
  for (const { manifestDigest, refs } of projected)
    for (const ref of refs.filter((each) => !isOfImage(each) && !isBlobRef(each))) add(manifestDigest, reasonOf(ref));
  return roots;
}

/** Of a ref that another program has made. libostree gives each deployment a ref `ostree/<boot version>/<subversion>/<index>`. */
function reasonOf(ref: string): string {
  return /^ostree\/[01]\/[01]\/\d+$/.test(ref) ? "deployed" : `kept by the ostree ref ${ref}`;
}
