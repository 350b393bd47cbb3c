import { readFileSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OneholdError } from "#base/errors.ts";
import { mountTable, unmount } from "#linux/mounts.ts";
import { isErrno, toSystemError, withSystemErrors } from "#linux/system-error.ts";
import { isStorageId, layerDataFolder, layerFolder, tarSplitFile } from "./layout.ts";
import type { Trash } from "./trash.ts";

/**
 * Unmounts what is mounted in the layers' folders: podman leaves an image mounted after `podman image mount`.
 * @throws busy where something uses the mount
 */
export function unmountLayers(root: string, ids: readonly string[]): void {
  const folders = ids.map((id) => `${layerFolder(realpathSync(root), id)}/`);
  // Last mounted first.
  for (const { mountPoint } of mountTable().toReversed()) {
    const index = folders.findIndex((folder) => mountPoint.startsWith(folder));
    if (index < 0) continue;
    try {
      unmount(mountPoint);
    } catch (error) {
      if (!isErrno(error, "EBUSY")) throw error;
      throw new OneholdError("busy", `layer ${ids[index]} is mounted at ${mountPoint}, and something uses it`, {
        subject: mountPoint,
        hint: `See what does (fuser -vm ${mountPoint}), end it, and try again.`,
        cause: error,
      });
    }
  }
}

/** Takes a layer's files out of the store. Its record must be gone, or marked incomplete, before. */
export function eraseLayer(root: string, id: string, trash: Trash): void {
  if (!isStorageId(id)) throw new Error(`eraseLayer: not a layer's id: ${JSON.stringify(id)}`);
  eraseShortLink(root, id);
  trash.add(layerFolder(root, id));
  trash.add(layerDataFolder(root, id));
  withSystemErrors(() => rmSync(tarSplitFile(root, id), { force: true }));
}

/** overlay/l/ has a link with a short name to each diff, so that many of them fit into a mount's options. */
function eraseShortLink(root: string, id: string): void {
  const name = shortLinkName(root, id);
  if (name !== undefined) withSystemErrors(() => rmSync(join(root, "overlay", "l", name), { force: true }));
}

function shortLinkName(root: string, id: string): string | undefined {
  try {
    const name = readFileSync(join(layerFolder(root, id), "link"), "latin1");
    return /^[A-Z2-7]{26}$/.test(name) ? name : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw toSystemError(error);
  }
}
