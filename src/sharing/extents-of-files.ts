import fs from "node:fs";
import { extentsOf } from "#linux/extents.ts";
import { fileSystemOf } from "#linux/file-system.ts";
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

/** Keeps addresses of different devices apart in one set of ranges. */
export class DeviceMap {
  readonly #bases = new Map<number, number>();

  /** What to add to addresses on the device of `directory`. */
  baseOf(directory: string): number {
    // All subvolumes of a Btrfs have one address space, though each has a device number of its own.
    const device = fileSystemOf(directory).kind === "btrfs" ? -1 : fs.statSync(directory).dev;
    let base = this.#bases.get(device);
    if (base === undefined) {
      base = this.#bases.size * 2 ** 50;
      this.#bases.set(device, base);
    }
    return base;
  }
}

/** Measures every regular file below `directory`; one that goes away meanwhile is passed over. */
export function contentBelow(directory: string, devices: DeviceMap): ContentOnDisk {
  const ranges = new DeviceRanges();
  const base = devices.baseOf(directory);
  let files = 0;
  const folders: Buffer[] = [Buffer.from(directory)];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of entriesOf(folder)) {
      const child = Buffer.concat([folder, slash, entry.name]);
      if (entry.isDirectory()) folders.push(child);
      else if (entry.isFile() && addFile(child, base, ranges)) files++;
    }
  }
  return { ranges, files };
}

/** Adds one file's content to `ranges`; false where it is not there. */
export function addFile(file: Buffer | string, base: number, ranges: DeviceRanges): boolean {
  let fd: number;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ELOOP")) return false;
    throw error;
  }
  try {
    for (const extent of extentsOf(fd)) {
      // What lies in the file system's own metadata (small files of Btrfs) is no content on the device.
      if (!extent.inline && !extent.unknown) ranges.add(base + extent.physical, extent.length);
    }
    return true;
  } finally {
    fs.closeSync(fd);
  }
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
