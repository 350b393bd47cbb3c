import { failureAt } from "./descriptor.ts";
import { cPath, cSecondPath, libc, type PathLike } from "./libc.ts";
import { isErrno } from "./system-error.ts";

/**
 * Gives a file one more name; a symlink is linked itself, not followed. "too-many-links": the file has as many
 * names as its file system allows (ext4: 65,000). SystemError EXDEV across two file systems.
 */
export function linkAt(
  sourceDirFd: number,
  sourceName: PathLike,
  destinationDirFd: number,
  destinationName: PathLike,
): "linked" | "exists" | "too-many-links" {
  const c = libc();
  if (c.linkat(sourceDirFd, cPath(sourceName), destinationDirFd, cSecondPath(destinationName), 0) === 0)
    return "linked";
  const error = failureAt("linkat", c.errno(), destinationDirFd, destinationName);
  if (isErrno(error, "EEXIST")) return "exists";
  if (isErrno(error, "EMLINK")) return "too-many-links";
  throw isErrno(error, "ENOENT") ? failureAt("linkat", error.errno, sourceDirFd, sourceName) : error;
}
