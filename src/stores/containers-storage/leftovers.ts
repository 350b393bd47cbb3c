import { constants, lstatSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { openFile } from "#linux/descriptor.ts";
import { tryLock } from "#linux/locks.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { eraseLayer, unmountLayers } from "./erase-layer.ts";
import { isStorageId } from "./layout.ts";
import { readRecords } from "./record-files.ts";
import { isIncomplete } from "./records.ts";
import { carryOut, type Removed, trashFolder } from "./remove.ts";
import { planLayerRemoval, type StoreRecords } from "./removal-plan.ts";
import type { ExclusiveHold } from "./store-lock.ts";
import { clearTrash, namesIn, openTrash } from "./trash.ts";

export interface Leftovers extends Removed {
  /** Files and folders that belonged to nothing, as paths. */
  readonly paths: readonly string[];
}

/**
 * Clears what a killed podman (or Onehold) has left: layers marked incomplete, folders and files without a
 * record, half-written files, temporary folders. What a running podman works on is locked, and stays.
 * @throws busy where a container uses an incomplete layer
 */
export function removeLeftovers(hold: ExclusiveHold): Leftovers {
  const { root } = hold.store;
  using trash = openTrash(trashFolder(root));
  const before = readRecords(hold);
  const incomplete = before.layers.filter(isIncomplete).map(({ id }) => id);
  const removed = carryOut(hold, planLayerRemoval(before, new Set(incomplete)), trash);
  const orphans = orphanLayers(root, readRecords(hold));
  unmountLayers(root, orphans);
  for (const id of orphans) eraseLayer(root, id, trash);
  const paths = [
    ...orphanImageData(root, readRecords(hold)),
    ...temporaryFiles(root),
    ...deadLinks(root),
    ...staleStaging(root),
  ];
  withSystemErrors(() => {
    for (const path of paths) rmSync(path, { recursive: true, force: true });
  });
  clearTrash(trashFolder(root));
  clearTrash(join(root, "overlay-layers", "tmp"));
  return { ...removed, paths: [...orphans.map((id) => join(root, "overlay", id)), ...paths] };
}

/** Ids that have files, but no record. */
function orphanLayers(root: string, records: StoreRecords): string[] {
  const recorded = new Set(records.layers.map(({ id }) => id));
  const tarSplit = /^([0-9a-f]{64})\.tar-split\.gz$/;
  const ids = [
    ...namesIn(join(root, "overlay")),
    ...namesIn(join(root, "overlay-layers")).map((name) => tarSplit.exec(name)?.[1] ?? name),
  ];
  return [...new Set(ids)].filter((id) => isStorageId(id) && !recorded.has(id));
}

function orphanImageData(root: string, records: StoreRecords): string[] {
  const recorded = new Set(records.images.map(({ id }) => id));
  return namesIn(join(root, "overlay-images"))
    .filter((name) => isStorageId(name) && !recorded.has(name))
    .map((name) => join(root, "overlay-images", name));
}

/** Podman and Onehold write a file under such a name first, then rename it. */
function temporaryFiles(root: string): string[] {
  const folders = ["overlay-layers", "overlay-images", "overlay-containers"].map((name) => join(root, name));
  const perRecord = folders.flatMap((folder) =>
    namesIn(folder)
      .filter(isStorageId)
      .map((name) => join(folder, name)),
  );
  return [...folders, ...perRecord].flatMap((folder) =>
    namesIn(folder)
      .filter((name) => name.startsWith(".tmp-") || name.startsWith(".onehold-new-"))
      .map((name) => join(folder, name)),
  );
}

/** Short links (see `eraseLayer`) whose layer is gone. */
function deadLinks(root: string): string[] {
  const folder = join(root, "overlay", "l");
  return namesIn(folder)
    .map((name) => join(folder, name))
    .filter((path) => lstatSync(path).isSymbolicLink() && /^\.\.\/[0-9a-f]{64}\/diff$/.test(readlinkSync(path)))
    .filter((path) => statSync(path, { throwIfNoEntry: false }) === undefined);
}

/** Partial pulls in progress hold `staging.lock` in their folder. */
function staleStaging(root: string): string[] {
  const folder = join(root, "overlay", "staging");
  return namesIn(folder)
    .map((name) => join(folder, name))
    .filter((path) => lstatSync(path).isDirectory() && isUnlocked(join(path, "staging.lock")));
}

function isUnlocked(path: string): boolean {
  using file = openFile(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  return tryLock(file.fd, "exclusive");
}
