import { setTimeout as sleep } from "node:timers/promises";
import { OneholdError } from "#base/errors.ts";
import { failureOf } from "./descriptor.ts";
import { libc } from "./libc.ts";
import { isErrno } from "./system-error.ts";

export type LockKind = "shared" | "exclusive";

export interface LockOptions {
  /** Completes the sentence "… is in use by another process": "the image store at /x". */
  readonly what: string;
  /** Without it: as long as it takes. */
  readonly timeoutMs?: number;
  /** Called once, before the first wait. */
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

/**
 * Takes a lock on the whole file, or says that another holds it. The lock is an "open file description" lock
 * (fcntl F_OFD_SETLK): it belongs to the open file, not to the process, so it lasts until that is closed, and
 * excludes classic POSIX locks (containers/storage) as well as its own kind (libostree). An exclusive lock
 * needs a file opened for writing, a shared one for reading.
 */
export function tryLock(fd: number, kind: LockKind): boolean {
  return setLock(fd, kind === "shared" ? readLock : writeLock);
}

/** Closing the file unlocks too, once no copy of the descriptor is left. */
export function unlock(fd: number): void {
  setLock(fd, noLock);
}

/** Waits for the lock of `tryLock`. Throws "busy" after `timeoutMs` and "interrupted" when `signal` aborts. */
export function lock(fd: number, kind: LockKind, options: LockOptions): Promise<void> {
  return waitFor(() => tryLock(fd, kind), options);
}

/** Waits for the lock of `tryFlock`, as `lock` does. */
export function flock(fd: number, kind: LockKind, options: LockOptions): Promise<void> {
  return waitFor(() => tryFlock(fd, kind), options);
}

/** Asks again and again: a blocking call would stop the event loop. */
async function waitFor(attempt: () => boolean, options: LockOptions): Promise<void> {
  const { what, timeoutMs, onWait, signal } = options;
  const deadline = performance.now() + (timeoutMs ?? Infinity);
  for (let pause = shortestPause; ; pause = Math.min(pause * 2, longestPause)) {
    if (signal?.aborted === true) throw interrupted(what, signal);
    if (attempt()) return;
    if (pause === shortestPause) onWait?.();
    const left = deadline - performance.now();
    if (left <= 0) throw stillBusy(what, timeoutMs ?? 0);
    await sleep(Math.min(pause, left), undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
      if (signal?.aborted !== true) throw error;
    });
  }
}

/** The other kind of file lock, of flock(2), which knows nothing of fcntl's: composefs takes it on its repository. */
export function tryFlock(fd: number, kind: LockKind): boolean {
  const c = libc();
  if (c.flock(fd, (kind === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return true;
  const error = failureOf("flock", c.errno(), fd);
  if (isErrno(error, "EAGAIN")) return false;
  throw error;
}

export function unflock(fd: number): void {
  const c = libc();
  if (c.flock(fd, LOCK_UN) !== 0) throw failureOf("flock", c.errno(), fd);
}

const shortestPause = 10;
const longestPause = 250;

const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

// struct flock: l_type s16 @0, l_whence s16 @2, l_start s64 @8, l_len s64 @16 (0: to the end), l_pid s32 @24 (must be 0).
function wholeFile(type: number): Buffer {
  const struct = Buffer.alloc(32);
  struct.writeInt16LE(type, 0);
  return struct;
}

const readLock = wholeFile(F_RDLCK);
const writeLock = wholeFile(F_WRLCK);
const noLock = wholeFile(F_UNLCK);

function setLock(fd: number, struct: Buffer): boolean {
  const c = libc();
  if (c.fcntl(fd, F_OFD_SETLK, struct) === 0) return true;
  const error = failureOf("fcntl F_OFD_SETLK", c.errno(), fd);
  if (isErrno(error, "EAGAIN", "EACCES")) return false;
  throw error;
}

function stillBusy(what: string, timeoutMs: number): OneholdError {
  return new OneholdError("busy", `${what} is in use by another process (waited ${Math.round(timeoutMs / 1000)} s)`, {
    hint: "Wait until the other process has ended, and try again.",
  });
}

function interrupted(what: string, signal: AbortSignal): OneholdError {
  return new OneholdError("interrupted", `interrupted while waiting for ${what}`, { cause: signal.reason });
}
