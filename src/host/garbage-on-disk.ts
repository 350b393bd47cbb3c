import path from "node:path";
import { addFile, contentBelow, DeviceMap } from "#sharing/extents-of-files.ts";
import { DeviceRanges } from "#sharing/ranges.ts";
import { contentsOf } from "#stores/containers-storage/store.ts";
import type { Garbage } from "./garbage.ts";
import type { Inventory } from "./inventory.ts";
import type { StoreName } from "./usage.ts";

/** Bytes of file content on disk, by where they lie, as `usage` counts them. */
export interface GarbageOnDisk {
  /** What each store lets go of. */
  readonly bytes: Readonly<Record<StoreName, number>>;
  /** Of all that, what no store goes on holding: this comes back. */
  readonly freed: number;
}

/** Looks where all files of the stores lie, unless nothing goes. */
export function measureGarbage(inventory: Inventory, garbage: Garbage): GarbageOnDisk {
  const devices = new DeviceMap();
  const staying = new DeviceRanges();
  const going = {
    "image store": new DeviceRanges(),
    ostree: new DeviceRanges(),
    composefs: new DeviceRanges(),
  };
  const goes = garbage.imageStore.layers.length + garbage.ostree.objects.length + garbage.composefs.objects.length > 0;
  if (goes && inventory.imageStore !== undefined) {
    const layers = new Set(garbage.imageStore.layers);
    for (const { id, diffPath } of contentsOf(inventory.imageStore).layers.values())
      (layers.has(id) ? going["image store"] : staying).addAll(contentBelow(diffPath, devices).ranges);
  }
  const measureObjects = (repository: { path: string } | undefined, store: "ostree" | "composefs") => {
    if (!goes || repository === undefined) return;
    const folder = path.join(repository.path, "objects");
    const device = devices.of(folder);
    const dead = new Set(garbage[store].objects.map(({ file }) => file));
    for (const file of dead) addFile(file, device, going[store]);
    staying.addAll(contentBelow(folder, devices, (file) => dead.has(file)).ranges);
  };
  measureObjects(inventory.ostree, "ostree");
  measureObjects(inventory.composefs, "composefs");
  const all = new DeviceRanges();
  for (const ranges of Object.values(going)) all.addAll(ranges);
  return {
    bytes: {
      "image store": going["image store"].bytes,
      ostree: going.ostree.bytes,
      composefs: going.composefs.bytes,
    },
    freed: all.without(staying).bytes,
  };
}
