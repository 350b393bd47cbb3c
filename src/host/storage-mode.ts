import fs from "node:fs";
import path from "node:path";
import * as v from "valibot";
import { messageOf, OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError } from "#linux/system-error.ts";
import type { Sysroot } from "./sysroot.ts";

/**
 * How a host keeps its images: `unified`, in the image store and the backend's stores on the same blocks, or
 * `separate`, a host image in its backend alone.
 */
export type StorageMode = "unified" | "separate";

const schema = v.object({ version: v.literal(1), storage: v.optional(v.picklist(["unified", "separate"]), "unified") });

/** What the host is set to; without a setting it is `unified`. @throws OneholdError "corrupt" */
export function readStorageMode({ state }: Sysroot): StorageMode {
  const file = path.join(state.path, "config.json");
  try {
    return v.parse(schema, JSON.parse(fs.readFileSync(file, "utf8"))).storage;
  } catch (cause) {
    if (isErrno(cause, "ENOENT", "ENOTDIR")) return "unified";
    if (!v.isValiError(cause) && !(cause instanceof SyntaxError)) throw toSystemError(cause);
    throw new OneholdError("corrupt", `${file} can't be read: ${messageOf(cause)}`, {
      cause,
      subject: file,
      hint: 'It is {"version": 1, "storage": "unified"} or "separate".',
    });
  }
}
