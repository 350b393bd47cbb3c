import { constants } from "node:fs";
import { AT_FDCWD, type Descriptor, failureAt, O_TMPFILE, openFile } from "./descriptor.ts";
import { cPath, cSecondPath, libc, type PathLike } from "./libc.ts";
import { isErrno } from "./system-error.ts";

/**
 * A new file on the file system of `directory`, without a name: it vanishes when it is closed, or when this
 * process is killed, unless it is published. Open for reading and writing.
 */
export function openTemporary(directory: PathLike, mode = 0o600): Descriptor {
  return openFile(directory, O_TMPFILE | constants.O_RDWR, mode);
}

/**
 * Gives a nameless file its name, in one step. What is there already stays. For loops over very many files:
 * `openAt(dirFd, ".", O_TMPFILE | O_RDWR)` makes such a file as well.
 */
export function publish(fd: number, dirFd: number, name: PathLike): "published" | "exists" {
  const c = libc();
  // Linking the descriptor itself (AT_EMPTY_PATH) would need CAP_DAC_READ_SEARCH on most kernels.
  if (c.linkat(AT_FDCWD, cPath(`/proc/self/fd/${fd}`), dirFd, cSecondPath(name), AT_SYMLINK_FOLLOW) === 0)
    return "published";
  const error = failureAt("linkat", c.errno(), dirFd, name);
  if (isErrno(error, "EEXIST")) return "exists";
  throw error;
}

const AT_SYMLINK_FOLLOW = 0x400;
