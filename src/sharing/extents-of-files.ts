import fs from "node:fs";
import { type Extent, extentsOf } from "#linux/extents.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import { syncfs } from "#linux/sync.ts";
import { isErrno } from "#linux/system-error.ts";
import { DeviceRanges } from "./ranges.ts";

/**
 * Which bytes of which device hold the content of a folder's files. This, not the sizes of files, tells what
 * is shared: files that share blocks lie at the same place.
 */
export interface ContentOnDisk {
  readonly ranges: DeviceRanges;
  readonly files: number;
}

/** A device, as a part of the one space of addresses that ranges are of. */
export interface Device {
  /** What to add to its addresses. */
  readonly base: number;
  synced: boolean;
}

/** Keeps addresses of different devices apart in one set of ranges. */
export class DeviceMap {
  readonly #devices = new Map<number, Device>();

  /** The device of `directory`. */
  of(directory: string): Device {
    // All subvolumes of a Btrfs have one address space, though each has a device number of its own.
    const device = fileSystemOf(directory).kind === "btrfs" ? -1 : fs.statSync(directory).dev;
    let known = this.#devices.get(device);
    if (known === undefined) {
      known = { base: this.#devices.size * 2 ** 50, synced: false };
      this.#devices.set(device, known);
    }
    return known;
  }
}

/**
 * Measures every regular file below `directory`, but those that are left out by their path; one that goes away meanwhile
 * is passed over.
 */
export function contentBelow(
  directory: string,
  devices: DeviceMap,
  isLeftOut: (file: string) => boolean = () => false,
): ContentOnDisk {
  const ranges = new DeviceRanges();
  const device = devices.of(directory);
  let files = 0;
  const folders: Buffer[] = [Buffer.from(directory)];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of entriesOf(folder)) {
      const child = Buffer.concat([folder, slash, entry.name]);
      if (entry.isDirectory()) folders.push(child);
      else if (entry.isFile() && !isLeftOut(child.toString()) && addFile(child, device, ranges)) files++;
    }
  }
  return { ranges, files };
}

/** Adds one file's content to `ranges`; false where it is not there. */
export function addFile(file: Buffer | string, device: Device, ranges: DeviceRanges): boolean {
  let fd: number;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ELOOP")) return false;
    throw error;
  }
  try {
    for (const extent of placedExtents(fd, device)) {
      // What lies in the file system's own metadata (small files of Btrfs) is no content on the device.
      if (!extent.inline && !extent.unknown) ranges.add(device.base + extent.physical, extent.length);
    }
    return true;
  } finally {
    fs.closeSync(fd);
  }
}

/** What was written a moment ago has no place yet. All of it gets one at once, as soon as any is seen. */
function placedExtents(fd: number, device: Device): Extent[] {
  const extents = extentsOf(fd);
  if (!extents.some((extent) => extent.unknown)) return extents;
  if (!device.synced) {
    syncfs(fd);
    device.synced = true;
  }
  return extentsOf(fd, { sync: true });
}

const slash = Buffer.from("/");

function entriesOf(folder: Buffer): fs.Dirent<Buffer>[] {
  try {
    return fs.readdirSync(folder, { encoding: "buffer", withFileTypes: true });
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}
