import { AT_FDCWD, failureAt } from "./descriptor.ts";
import { cPath, cSecondPath, libc, type PathLike } from "./libc.ts";
import { isErrno } from "./system-error.ts";

/** Swaps two files or directories, in one step: at no time is one of the names missing. */
export function exchange(a: PathLike, b: PathLike): void {
  rename(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

/** Renames, unless the new name is taken. */
export function renameNoReplace(from: PathLike, to: PathLike): "renamed" | "exists" {
  return renameAtNoReplace(AT_FDCWD, from, AT_FDCWD, to);
}

export function renameAtNoReplace(
  fromDirFd: number,
  from: PathLike,
  toDirFd: number,
  to: PathLike,
): "renamed" | "exists" {
  try {
    rename(fromDirFd, from, toDirFd, to, RENAME_NOREPLACE);
    return "renamed";
  } catch (error) {
    if (isErrno(error, "EEXIST")) return "exists";
    throw error;
  }
}

/** Renames a file or a directory; a file that has the new name is replaced in one step. */
export function renameAt(fromDirFd: number, from: PathLike, toDirFd: number, to: PathLike): void {
  rename(fromDirFd, from, toDirFd, to, 0);
}

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

function rename(fromDirFd: number, from: PathLike, toDirFd: number, to: PathLike, flags: number): void {
  const c = libc();
  if (c.renameat2(fromDirFd, cPath(from), toDirFd, cSecondPath(to), flags) === 0) return;
  const errno = c.errno();
  const error = failureAt("renameat2", errno, toDirFd, to);
  // That something is missing is said of the source; the target's folder is there, mostly.
  throw isErrno(error, "ENOENT") ? failureAt("renameat2", errno, fromDirFd, from) : error;
}
