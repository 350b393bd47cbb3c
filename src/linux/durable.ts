import { closeSync, fchmodSync, fsyncSync, openSync, readdirSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { syncDirectory } from "./sync.ts";
import { isErrno, withSystemErrors } from "./system-error.ts";

/**
 * Replaces a file, or makes it: whenever the power fails, it has the old content or the new, complete. When
 * this returns, the new one is on the disk. The mode is as given, whatever the umask.
 */
export function writeFileDurably(path: string, data: string | Buffer, mode = 0o644): void {
  withSystemErrors(() => {
    const folder = dirname(path);
    const temporary = join(folder, `${temporaryPrefix}${randomBytes(8).toString("hex")}`);
    try {
      writeNew(temporary, typeof data === "string" ? Buffer.from(data) : data, mode);
      renameSync(temporary, path);
    } catch (error) {
      removeIfThere(temporary);
      throw error;
    }
    syncDirectory(folder);
  });
}

/** Removes a file for good: it does not come back after a power cut. A file that is not there is no error. */
export function removeDurably(path: string): void {
  withSystemErrors(() => {
    if (removeIfThere(path)) syncDirectory(dirname(path));
  });
}

/**
 * Clears what a killed `writeFileDurably` has left in a folder; returns how many files. Only for who holds the
 * lock under which the folder is written.
 */
export function clearUnfinishedWrites(folder: string): number {
  return withSystemErrors(() => {
    const names = readdirSync(folder).filter((name) => name.startsWith(temporaryPrefix));
    for (const name of names) removeIfThere(join(folder, name));
    return names.length;
  });
}

const temporaryPrefix = ".onehold-new-";

function writeNew(path: string, data: Buffer, mode: number): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    for (let done = 0; done < data.length; ) done += writeSync(fd, data, done);
    fchmodSync(fd, mode);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function removeIfThere(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
