import { rmSync } from "node:fs";
import { join } from "node:path";
import { OneholdError } from "#base/errors.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { eraseLayer, unmountLayers } from "./erase-layer.ts";
import { imageDataFolder, isStorageId } from "./layout.ts";
import { changeRecord, fieldOf, type RecordText } from "./record-text.ts";
import { readRecords, rewriteImages, rewriteLayers } from "./record-files.ts";
import {
  planGarbageRemoval,
  planImageRemoval,
  planLayerRemoval,
  planSweep,
  type RemovalPlan,
  type StoreRecords,
} from "./removal-plan.ts";
import { type ExclusiveHold, type LockWait, withExclusiveLock } from "./store-lock.ts";
import type { ImageStore } from "./store.ts";
import { openTrash, type Trash } from "./trash.ts";

/** What was removed, by id. */
export type Removed = RemovalPlan;

/** Where podman 5 puts what it deletes; see `openTrash`. */
export function trashFolder(root: string): string {
  return join(root, "overlay", "tempdirs");
}

/**
 * Takes a name from an image, which stays. False where the image does not have it (any more).
 * @throws not-found; those of `withExclusiveLock`
 */
export async function untag(
  store: ImageStore,
  image: { readonly id: string },
  name: string,
  wait: LockWait = {},
): Promise<boolean> {
  return await withExclusiveLock(
    store,
    (hold) => {
      const stored = readRecords(hold).images.find(({ id }) => id === image.id);
      if (stored === undefined) throw noSuchImage(store, image.id);
      if (!stored.names.includes(name)) return false;
      const names = stored.names.filter((each) => each !== name);
      // Podman omits an empty list. "names-history" stays, as with podman.
      const fields = { names: names.length === 0 ? undefined : names };
      rewriteImages(hold, (record) => (record.id === image.id ? changeRecord(record, fields) : record));
      return true;
    },
    wait,
  );
}

/**
 * Removes an image with all its names, and its layers as far as no other image, container or layer needs
 * them. An incomplete image can be removed too. `borrowed`: layers that other stores need (see `borrowedFrom`).
 * @throws not-found; busy where a container uses it; those of `withExclusiveLock`
 */
export async function removeImage(
  store: ImageStore,
  image: { readonly id: string },
  { borrowed, ...wait }: LockWait & { readonly borrowed?: ReadonlySet<string> } = {},
): Promise<Removed> {
  return await remove(
    store,
    (records) => {
      if (!records.images.some(({ id }) => id === image.id)) throw noSuchImage(store, image.id);
      return planImageRemoval(records, new Set([image.id]), borrowed);
    },
    wait,
  );
}

/**
 * Removes layers that are damaged, with the layers and images that stand on them. Layers below stay, for the
 * next pull to use.
 * @throws busy where a container uses one; those of `withExclusiveLock`
 */
export async function dropLayers(store: ImageStore, ids: Iterable<string>, wait: LockWait = {}): Promise<Removed> {
  return await remove(store, (records) => planLayerRemoval(records, new Set(ids)), wait);
}

/**
 * Removes images, and all layers that nothing needs then; an image that a container was made from stays. `borrowed`:
 * layers that other stores need.
 * @throws those of `withExclusiveLock`
 */
export async function removeGarbage(
  store: ImageStore,
  images: Iterable<string>,
  borrowed: ReadonlySet<string>,
  wait: LockWait = {},
): Promise<Removed> {
  return await remove(store, (records) => planGarbageRemoval(records, new Set(images), borrowed), wait);
}

/** Removes those of the layers that nothing needs at this moment; the others stay. @throws those of `withExclusiveLock` */
export async function sweepLayers(store: ImageStore, ids: Iterable<string>, wait: LockWait = {}): Promise<Removed> {
  return await remove(store, (records) => planSweep(records, new Set(ids)), wait);
}

async function remove(
  store: ImageStore,
  plan: (records: StoreRecords) => RemovalPlan,
  wait: LockWait,
): Promise<Removed> {
  // Emptied when the locks are released: deleting many files takes seconds.
  using trash = openTrash(trashFolder(store.root));
  return await withExclusiveLock(store, (hold) => carryOut(hold, plan(readRecords(hold)), trash), wait);
}

/**
 * In podman's order, each step on disk before the next: whenever we are killed, every image that is still
 * listed is whole, and what is half removed is marked so, which podman and `removeLeftovers` finish.
 */
export function carryOut(hold: ExclusiveHold, plan: RemovalPlan, trash: Trash): Removed {
  const { root } = hold.store;
  const images = new Set(plan.images);
  const layers = new Set(plan.layers.filter(isStorageId));
  unmountLayers(root, [...layers]);
  rewriteImages(hold, (record) => (images.has(record.id) ? undefined : record));
  for (const id of images) eraseImageData(root, id);
  rewriteLayers(hold, (record) => (layers.has(record.id) ? markIncomplete(record) : record));
  for (const id of layers) eraseLayer(root, id, trash);
  rewriteLayers(hold, (record) => (layers.has(record.id) ? undefined : record));
  return { images: [...images], layers: [...layers] };
}

function eraseImageData(root: string, id: string): void {
  if (isStorageId(id)) withSystemErrors(() => rmSync(imageDataFolder(root, id), { recursive: true, force: true }));
}

function markIncomplete(record: RecordText): RecordText {
  const flags = fieldOf(record, "flags");
  return changeRecord(record, { flags: { ...(typeof flags === "object" ? flags : {}), incomplete: true } });
}

function noSuchImage(store: ImageStore, id: string): OneholdError {
  return new OneholdError("not-found", `the image store ${store.root} has no image ${id} of its own`, { subject: id });
}
