import {
  constants,
  fstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { randomInt } from "node:crypto";
import { basename, join } from "node:path";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { tryLock } from "#linux/locks.ts";
import { isErrno, toSystemError, withSystemErrors } from "#linux/system-error.ts";

/**
 * Folders on their way out. Podman 5 (containers/storage 1.59 and later) moves what it deletes into
 * `tempdirs/temp-dir-N` and deletes it when it has let go of the store's locks; `lock-N` beside it is locked
 * for as long. What a killed process leaves there, the next podman clears, and `clearTrash` here.
 */
export interface Trash extends Disposable {
  /** Takes a file or folder out of the store, at once. One that is not there is passed over. */
  add(path: string): void;
}

const folderPrefix = "temp-dir-";
const lockPrefix = "lock-";

/** Nothing is made before the first `add`. Disposing of it deletes what was added: not under the store's locks. */
export function openTrash(folder: string): Trash {
  let slot: TrashSlot | undefined;
  let count = 0;
  return {
    add(path) {
      slot ??= makeSlot(folder);
      try {
        renameSync(path, join(slot.path, `${count}-${basename(path)}`));
        count += 1;
      } catch (error) {
        if (!isErrno(error, "ENOENT")) throw toSystemError(error);
      }
    },
    [Symbol.dispose]() {
      slot?.remove();
    },
  };
}

/** Deletes what killed processes have left, and only that: see `openTrash`. Returns how many folders. */
export function clearTrash(folder: string): number {
  let cleared = 0;
  for (const number of slotNumbers(folder)) {
    const lockPath = join(folder, lockPrefix + number);
    using lock = openFile(lockPath, constants.O_RDWR | constants.O_CREAT, 0o644);
    if (!tryLock(lock.fd, "exclusive")) continue;
    withSystemErrors(() => {
      rmSync(join(folder, folderPrefix + number), { recursive: true, force: true });
      rmSync(lockPath, { force: true });
    });
    cleared += 1;
  }
  return cleared;
}

interface TrashSlot {
  readonly path: string;
  remove(): void;
}

function makeSlot(folder: string): TrashSlot {
  const isNew = withSystemErrors(() => mkdirSync(folder, { recursive: true, mode: 0o700 })) !== undefined;
  for (;;) {
    const number = String(randomInt(2 ** 32));
    const lockPath = join(folder, lockPrefix + number);
    const path = join(folder, folderPrefix + number);
    const lock = openFile(lockPath, constants.O_RDWR | constants.O_CREAT, 0o644);
    if (!holds(lock, lockPath)) {
      lock[Symbol.dispose]();
      continue;
    }
    withSystemErrors(() => mkdirSync(path, { mode: 0o700 }));
    const remove = (): void => {
      using _ = lock;
      withSystemErrors(() => {
        rmSync(path, { recursive: true, force: true });
        unlinkSync(lockPath);
        // Older podmans know no such folder: theirs is left as it was.
        if (isNew) removeIfEmpty(folder);
      });
    };
    return { path, remove };
  }
}

/** A podman that clears up may have taken the file for one that was left behind, before it was locked. */
function holds(lock: Descriptor, path: string): boolean {
  if (!tryLock(lock.fd, "exclusive")) return false;
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.ino === fstatSync(lock.fd).ino;
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!isErrno(error, "ENOTEMPTY", "ENOENT")) throw error;
  }
}

function slotNumbers(folder: string): Set<string> {
  const prefixes = [folderPrefix, lockPrefix];
  return new Set(
    namesIn(folder).flatMap((name) =>
      prefixes.filter((prefix) => name.startsWith(prefix)).map((prefix) => name.slice(prefix.length)),
    ),
  );
}

/** What is in a folder; nothing where there is none. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw toSystemError(error);
  }
}
