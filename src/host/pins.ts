import fs from "node:fs";
import path from "node:path";
import * as v from "valibot";
import { type Digest, hexOf, isDigest } from "#base/digest.ts";
import { removeDurably, writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Sysroot } from "./sysroot.ts";

const schema = v.object({
  version: v.literal(1),
  digest: v.pipe(v.string(), v.check(isDigest)),
  reference: v.string(),
  pinned: v.string(),
});

/** A user's wish that an image stays, by manifest digest: moving a tag does not unpin what it named. */
export interface Pin {
  readonly digest: Digest;
  /** As the user named it. */
  readonly reference: string;
  /** When, RFC 3339. */
  readonly pinned: string;
}

export function listPins(sysroot: Sysroot): Pin[] {
  let names: string[];
  try {
    names = fs.readdirSync(sysroot.state.pins);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(".json"))
    .toSorted()
    .map((name) => {
      const pin = v.parse(schema, JSON.parse(fs.readFileSync(path.join(sysroot.state.pins, name), "utf8")));
      return { ...pin, digest: pin.digest as Digest };
    });
}

export function isPinned(sysroot: Sysroot, digest: Digest): boolean {
  return fs.existsSync(pinFile(sysroot, digest));
}

/** Returns whether it is new. */
export function addPin(sysroot: Sysroot, digest: Digest, reference: string): boolean {
  if (isPinned(sysroot, digest)) return false;
  const pin = { version: 1, digest, reference, pinned: new Date().toISOString() };
  writeFileDurably(pinFile(sysroot, digest), `${JSON.stringify(pin, undefined, 2)}\n`);
  return true;
}

/** Returns whether there was one. */
export function removePin(sysroot: Sysroot, digest: Digest): boolean {
  if (!isPinned(sysroot, digest)) return false;
  removeDurably(pinFile(sysroot, digest));
  return true;
}

function pinFile(sysroot: Sysroot, digest: Digest): string {
  return path.join(sysroot.state.pins, `${hexOf(digest)}.json`);
}
