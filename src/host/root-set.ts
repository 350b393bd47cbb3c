import type { Digest } from "#base/digest.ts";
import { listPins } from "./pins.ts";
import type { Sysroot } from "./sysroot.ts";

/** The manifest digests that must stay, each with its reasons, in words for people. */
export type RootSet = ReadonlyMap<Digest, readonly string[]>;

/** The one answer to "may this go?": every store sweeps against it. */
export function rootSet(sysroot: Sysroot): RootSet {
  const roots = new Map<Digest, string[]>();
  for (const pin of listPins(sysroot))
    roots.set(pin.digest, [...(roots.get(pin.digest) ?? []), `pinned as ${pin.reference}`]);
  return roots;
}
