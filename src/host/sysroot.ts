import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";

/** Where everything of a host is, below its sysroot. All paths are absolute. */
export interface Sysroot {
  readonly path: string;
  /** The host-owned containers/storage instance. */
  readonly imageStore: string;
  readonly ostreeRepo: string;
  /** Onehold's own: see docs/formats.md. */
  readonly state: {
    readonly path: string;
    readonly images: string;
    readonly pins: string;
    /** What the layers hold: a cache. */
    readonly layers: string;
    readonly lock: string;
    readonly operation: string;
    /** For what a pull downloads; on the sysroot's own file system. */
    readonly temporary: string;
  };
}

/** Finds a sysroot; nothing is made. Error: `not-found`. */
export function openSysroot(directory: string): Sysroot {
  const root = path.resolve(directory);
  if (!fs.statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new OneholdError("not-found", `the sysroot ${root} is not a directory`, {
      subject: root,
      hint: "Name the physical root of the host's disk with --sysroot.",
    });
  }
  const state = path.join(root, "onehold");
  return {
    path: root,
    imageStore: path.join(root, "ostree/bootc/storage"),
    ostreeRepo: path.join(root, "ostree/repo"),
    state: {
      path: state,
      images: path.join(state, "images"),
      pins: path.join(state, "pins"),
      layers: path.join(state, "layers"),
      lock: path.join(state, "lock"),
      operation: path.join(state, "operation.json"),
      temporary: path.join(state, "tmp"),
    },
  };
}

/** Makes Onehold's own folders. */
export function makeStateDirectories(sysroot: Sysroot): void {
  for (const directory of [sysroot.state.path, sysroot.state.images, sysroot.state.pins, sysroot.state.layers]) {
    fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
  }
  fs.mkdirSync(sysroot.state.temporary, { recursive: true, mode: 0o700 });
}

export function imageStoreExists(sysroot: Sysroot): boolean {
  return fs.existsSync(sysroot.imageStore);
}
