import { constants, closeSync, openSync, readlinkSync } from "node:fs";
import { cPath, displayPath, libc, type PathLike } from "./libc.ts";
import { SystemError, withSystemErrors } from "./system-error.ts";

/** An open file that is closed at the end of its scope: `using file = openFile(…)`. */
export interface Descriptor extends Disposable {
  /** -1 once it is closed, so that a late use fails and does not hit the next file with that number. */
  readonly fd: number;
}

/** The flags that node:fs does not name; the values are those of x86-64 and aarch64. */
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** The current directory, where a system call takes a directory's descriptor. */
export const AT_FDCWD = -100;

/** Opens with O_CLOEXEC always. Throws SystemError. */
export function openFile(path: PathLike, flags: number, mode = 0o600): Descriptor {
  return owned(withSystemErrors(() => openSync(path, flags | O_CLOEXEC, mode)));
}

/** Opens a directory, to sync it, lock it or reach what is in it. Throws SystemError. */
export function openDirectory(path: PathLike): Descriptor {
  return openFile(path, constants.O_RDONLY | constants.O_DIRECTORY);
}

/** Takes over a descriptor that `openAt`, or a parent process, has opened. */
export function owned(fd: number): Descriptor {
  return new OwnedDescriptor(fd);
}

/**
 * For loops over very many files: a bare descriptor, to be closed with `closeFd`. A name with slashes is
 * followed wherever it leads: see `openBeneath` for names that are not ours. O_CLOEXEC always.
 */
export function openAt(dirFd: number, name: PathLike, flags: number, mode = 0o600): number {
  const c = libc();
  const fd = c.openat(dirFd, cPath(name), flags | O_CLOEXEC, mode);
  if (fd < 0) throw failureAt("openat", c.errno(), dirFd, name);
  return fd;
}

/** A failure to close is a failure to write, on some file systems: not to be ignored. */
export function closeFd(fd: number): void {
  const c = libc();
  if (c.close(fd) < 0) throw new SystemError("close", c.errno());
}

/** Lets a program that replaces this process have the descriptor too. */
export function keepOverExec(fd: number): void {
  const c = libc();
  if (c.fcntlValue(fd, F_SETFD, 0) < 0) throw new SystemError("fcntl F_SETFD", c.errno(), `descriptor ${fd}`);
}

const F_SETFD = 2;

/** For error messages: where an open file is, or was when it was removed. Undefined where /proc does not tell. */
export function pathOfFd(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

/** The error of a system call that takes a directory and a name in it. Take `errno` before anything else runs. */
export function failureAt(syscall: string, errno: number, dirFd: number, name: PathLike): SystemError {
  const shown = displayPath(name);
  const parent = dirFd === AT_FDCWD || shown.startsWith("/") ? undefined : pathOfFd(dirFd);
  return new SystemError(syscall, errno, parent === undefined ? shown : `${parent}/${shown}`);
}

/** The error of a system call that takes an open file. */
export function failureOf(syscall: string, errno: number, fd: number): SystemError {
  return new SystemError(syscall, errno, pathOfFd(fd));
}

class OwnedDescriptor implements Descriptor {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  get fd(): number {
    return this.#fd;
  }

  [Symbol.dispose](): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) withSystemErrors(() => closeSync(fd));
  }
}
