import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { repositoryExists as composefsExists } from "#stores/composefs/repository.ts";
import { repositoryExists as ostreeExists } from "#stores/ostree/repository.ts";

/** The stores that host images go into, besides the image store. */
export type Backend = "ostree" | "composefs" | "both";

/** Where everything of a host is, below its sysroot. All paths are absolute. */
export interface Sysroot {
  readonly path: string;
  /** The host-owned containers/storage instance. */
  readonly imageStore: string;
  readonly ostreeRepo: string;
  /** The composefs repository. */
  readonly composefs: string;
  /** Which stores host images go into, by what is there: see docs/architecture.md. */
  readonly backend: Backend;
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
    composefs: path.join(root, "composefs"),
    get backend() {
      return backendOf(this);
    },
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

function backendOf({ ostreeRepo, composefs }: Pick<Sysroot, "ostreeRepo" | "composefs">): Backend {
  if (!composefsExists(composefs)) return "ostree";
  return ostreeExists(ostreeRepo) ? "both" : "composefs";
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
