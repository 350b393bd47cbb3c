import fs from "node:fs";
import path from "node:path";
import * as v from "valibot";
import { type Digest, hexOf } from "#base/digest.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Sysroot } from "./sysroot.ts";

const amount = v.object({ files: v.number(), bytes: v.number() });

const schema = v.object({
  version: v.literal(1),
  reference: v.string(),
  pulled: v.string(),
  /** Brought for a deployment that demands it, and asked for by no user: with that deployment it may go. */
  bound: v.optional(v.boolean()),
  /** Absent for an image that only the image store shall have. */
  ostree: v.optional(
    v.variant("state", [
      v.object({
        state: v.literal("imported"),
        commit: v.string(),
        reflinked: amount,
        hardlinked: amount,
        copied: amount,
        present: amount,
        leftOut: v.object({ special: v.array(v.string()), byRule: v.record(v.string(), v.number()) }),
      }),
      v.object({ state: v.literal("present"), commit: v.string() }),
      v.object({ state: v.literal("refused"), code: v.string(), message: v.string() }),
    ]),
  ),
  composefs: v.optional(
    v.variant("state", [
      v.object({
        state: v.literal("imported"),
        images: v.record(v.string(), v.string()),
        reflinked: amount,
        hardlinked: amount,
        copied: amount,
        present: amount,
        refused: v.array(v.string()),
      }),
      v.object({ state: v.literal("present"), images: v.record(v.string(), v.string()) }),
    ]),
  ),
});

/**
 * What Onehold noted of an image when it pulled it. A cache: the stores themselves say what they hold; this
 * only tells what can't be seen there (how bytes got there, what was left out and why).
 */
export type ImageNote = v.InferOutput<typeof schema>;

export interface StoredImageDocuments {
  readonly manifest: Buffer;
  readonly config: Buffer;
}

/** `undefined` where there is none, or one that can't be read: then the stores alone tell. */
export function readNote(sysroot: Sysroot, digest: Digest): ImageNote | undefined {
  try {
    return v.parse(schema, JSON.parse(fs.readFileSync(path.join(folderOf(sysroot, digest), "record.json"), "utf8")));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR") || v.isValiError(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function writeNote(sysroot: Sysroot, digest: Digest, note: ImageNote, documents: StoredImageDocuments): void {
  const folder = folderOf(sysroot, digest);
  fs.mkdirSync(folder, { recursive: true, mode: 0o755 });
  writeFileDurably(path.join(folder, "manifest.json"), documents.manifest);
  writeFileDurably(path.join(folder, "config.json"), documents.config);
  writeFileDurably(path.join(folder, "record.json"), `${JSON.stringify(note, undefined, 2)}\n`);
}

export function removeNote(sysroot: Sysroot, digest: Digest): void {
  fs.rmSync(folderOf(sysroot, digest), { recursive: true, force: true });
}

/** Removes the notes on images that are forgotten, each by the hex digits of its digest. */
export function forgetNotes(sysroot: Sysroot, isForgotten: (hex: string) => boolean): void {
  for (const name of fs.readdirSync(sysroot.state.images)) {
    if (isForgotten(name)) fs.rmSync(path.join(sysroot.state.images, name), { recursive: true, force: true });
  }
}

function folderOf(sysroot: Sysroot, digest: Digest): string {
  return path.join(sysroot.state.images, hexOf(digest));
}
