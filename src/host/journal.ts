import fs from "node:fs";
import * as v from "valibot";
import { removeDurably, writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Sysroot } from "./sysroot.ts";

const schema = v.object({
  version: v.literal(1),
  /** The verb, as typed: `image pull`. */
  verb: v.string(),
  /** What it works on: an image reference, or nothing. */
  subject: v.optional(v.string()),
  pid: v.number(),
  started: v.string(),
  stage: v.string(),
  /**
   * Set while a program writes into the image store without syncing what it writes. The layers that were there
   * before are known to be on disk; any other must be checked before it is trusted.
   */
  unclean: v.optional(v.object({ layersBefore: v.array(v.string()) })),
});

/** `onehold/operation.json`: what the running (or killed) operation is, and how far it came. */
export type JournalEntry = v.InferOutput<typeof schema>;

/** `undefined` where no operation runs or was killed. An unreadable journal counts as a killed operation. */
export function readJournal(sysroot: Sysroot): JournalEntry | undefined {
  let text: string;
  try {
    text = fs.readFileSync(sysroot.state.operation, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
  try {
    return v.parse(schema, JSON.parse(text));
  } catch {
    const unknown = { version: 1 as const, verb: "an operation", pid: 0, started: "", stage: "unknown" };
    return { ...unknown, unclean: { layersBefore: [] } };
  }
}

export function writeJournal(sysroot: Sysroot, entry: JournalEntry): void {
  writeFileDurably(sysroot.state.operation, `${JSON.stringify(entry, undefined, 2)}\n`);
}

export function clearJournal(sysroot: Sysroot): void {
  removeDurably(sysroot.state.operation);
}
