import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { findProgram, run } from "#linux/child.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncDirectory, syncfs } from "#linux/sync.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { mountStoreAlias } from "./store-alias.ts";
import { podmanArguments, prepareSurroundings } from "./surroundings.ts";

/**
 * Makes the image store where there is none, as bootc does: in a folder with the suffix .tmp, which podman
 * fills, and renames it when it is complete and on the disk. What a killed run has left is cleared. Where only skopeo
 * is installed, the folders are made and skopeo fills them at its first copy. Needs a private mount namespace.
 */
export async function ensureImageStore(storeRoot: string, signal: AbortSignal): Promise<void> {
  if (existsSync(storeRoot)) return makeLocks(storeRoot);
  const unfinished = `${storeRoot}.tmp`;
  withSystemErrors(() => {
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true, mode: 0o755 });
  });
  if (findProgram("podman") !== undefined) await initialize(unfinished, signal);
  makeLocks(unfinished);
  using folder = openDirectory(unfinished);
  syncfs(folder.fd);
  withSystemErrors(() => renameSync(unfinished, storeRoot));
  syncDirectory(dirname(storeRoot));
}

/** Any command of podman's makes the store and its database. */
async function initialize(storeRoot: string, signal: AbortSignal): Promise<void> {
  using alias = mountStoreAlias(storeRoot);
  await run("podman", [...podmanArguments, "images", "--quiet"], { ...prepareSurroundings({ alias }), signal });
}

/**
 * podman makes these files when it needs them, and could not where it finds the store as an additional one that is
 * read-only: 4.3 then fails, 5.8 sees no images.
 */
function makeLocks(storeRoot: string): void {
  withSystemErrors(() => {
    for (const [folder, lock] of [
      ["overlay-images", "images.lock"],
      ["overlay-layers", "layers.lock"],
    ] as const) {
      mkdirSync(join(storeRoot, folder), { recursive: true, mode: 0o700 });
      closeSync(openSync(join(storeRoot, folder, lock), "a", 0o644));
    }
  });
}
