import fs from "node:fs";
import path from "node:path";
import { parse } from "smol-toml";
import * as v from "valibot";
import { messageOf, OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError } from "#linux/system-error.ts";
import { type Borrowed, borrowedFrom } from "#stores/containers-storage/borrowed.ts";
import { type ImageStore, openImageStore } from "#stores/containers-storage/store.ts";
import type { Sysroot } from "./sysroot.ts";

const schema = v.looseObject({ storage: v.optional(v.looseObject({ graphroot: v.optional(v.string()) })) });
const usualPlace = "var/lib/containers/storage";

export interface Borrower extends Borrowed {
  /** Its graph root. */
  readonly store: string;
}

/**
 * The podman stores of a host that hold on to what the image store has: root's own, of the running host and of each
 * stateroot, where storage.conf and podman's default say. Those of users who are not root are not looked for.
 * @throws OneholdError "corrupt", "busy" where one can't be read: then nobody knows what it needs
 */
export function findBorrowers(sysroot: Sysroot, lender: ImageStore, hostRoot: string): Borrower[] {
  const roots = [...graphRootsOf(hostRoot), ...staterootVars(sysroot)];
  const seen = new Set([identityOf(lender.root)]);
  return roots.flatMap((root) => {
    const identity = identityOf(root);
    if (identity === undefined || seen.has(identity)) return [];
    seen.add(identity);
    const borrower = openOverlayStore(root);
    const borrowed = borrower && borrowedFrom(lender, borrower);
    return borrowed === undefined || borrowed.layers.size + borrowed.images.size === 0
      ? []
      : [{ ...borrowed, store: root }];
  });
}

function graphRootsOf(hostRoot: string): string[] {
  const files = ["etc/containers/storage.conf", "usr/share/containers/storage.conf"];
  const configured = files.flatMap((file) => graphRootIn(path.join(hostRoot, file)) ?? []);
  return [usualPlace, ...configured].map((root) => path.join(hostRoot, root));
}

function graphRootIn(file: string): string | undefined {
  try {
    const root = v.parse(schema, parse(fs.readFileSync(file, "utf8"))).storage?.graphroot;
    return root?.startsWith("/") === true ? root : undefined;
  } catch (cause) {
    if (isErrno(cause, "ENOENT", "ENOTDIR")) return undefined;
    throw new OneholdError("corrupt", `${file} can't be read: ${messageOf(cause)}`, {
      cause,
      subject: file,
      hint: "It says where podman's own store is, which may need images of the host: repair it.",
    });
  }
}

/** /var of a host that does not run. */
function staterootVars({ path: sysroot }: Sysroot): string[] {
  const folder = path.join(sysroot, "ostree/deploy");
  try {
    return fs.readdirSync(folder).map((stateroot) => path.join(folder, stateroot, usualPlace));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw toSystemError(error);
  }
}

/** undefined: it is not there. */
function identityOf(folder: string): string | undefined {
  const status = fs.statSync(folder, { bigint: true, throwIfNoEntry: false });
  return status?.isDirectory() === true ? `${status.dev}:${status.ino}` : undefined;
}

/** undefined: a store of another driver, which can't stand on layers of this one. */
function openOverlayStore(root: string): ImageStore | undefined {
  try {
    return openImageStore(root);
  } catch (error) {
    if (error instanceof OneholdError && error.code === "unsupported") return undefined;
    throw error;
  }
}
