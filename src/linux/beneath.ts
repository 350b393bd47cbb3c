import { constants, fstatSync, readFileSync } from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { type Descriptor, failureAt, O_CLOEXEC, O_TMPFILE, openDirectory, owned } from "./descriptor.ts";
import { cPath, displayPath, libc, type PathLike } from "./libc.ts";
import { isErrno, SystemError } from "./system-error.ts";

/**
 * Opens a path that somebody else may have made, below a directory that it can't leave (openat2 with
 * RESOLVE_BENEATH): SystemError EXDEV for `..`, an absolute path or a symlink that leads out, and ELOOP for
 * the magic links of /proc. Symlinks that stay inside are followed; give O_NOFOLLOW for the last one.
 */
export function openBeneath(rootFd: number, path: PathLike, flags: number, mode = 0o600): Descriptor {
  return openResolved(rootFd, path, flags, mode, RESOLVE_BENEATH);
}

/**
 * The same, with the directory as the root of all that is resolved, as after chroot (RESOLVE_IN_ROOT): an absolute
 * symlink starts there, and `..` of it is itself.
 */
export function openInRoot(rootFd: number, path: PathLike, flags: number): Descriptor {
  return openResolved(rootFd, path, flags, 0, RESOLVE_IN_ROOT);
}

/**
 * The content of a regular file below a folder that somebody else may have filled, all of its `size` bytes.
 * @throws OneholdError "corrupt" where it is of another size, or no regular file; SystemError as `openBeneath`
 */
export function readBeneath(folder: string, path: Buffer, size: number): Buffer {
  using root = openDirectory(folder);
  using file = openBeneath(root.fd, path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const stats = fstatSync(file.fd);
  if (stats.isFile() && stats.size === size) return readFileSync(file.fd);
  const is = stats.isFile() ? `${stats.size} bytes` : "no regular file";
  throw new OneholdError("corrupt", `${folder}/${displayPath(path)} is ${is}, its tar says ${size} bytes`, {
    subject: folder,
  });
}

function openResolved(rootFd: number, path: PathLike, flags: number, mode: number, resolve: bigint): Descriptor {
  const creates = (flags & constants.O_CREAT) !== 0 || (flags & O_TMPFILE) === O_TMPFILE;
  // struct open_how: flags u64 @0, mode u64 @8 (0 where nothing is made), resolve u64 @16.
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(creates ? mode : 0), 8);
  how.writeBigUInt64LE(resolve | RESOLVE_NO_MAGICLINKS, 16);
  for (let attempt = 1; ; attempt += 1) {
    const c = libc();
    const fd = c.syscall(SYS_openat2, rootFd, cPath(path), how, how.length);
    if (fd >= 0) return owned(fd);
    const error = failureAt("openat2", c.errno(), rootFd, path);
    if (isErrno(error, "EXDEV")) throw escapes(error);
    // The kernel could not rule out that a rename meanwhile led it outside.
    if (!isErrno(error, "EAGAIN") || attempt === attempts) throw error;
  }
}

/** The same on all architectures that are younger than it. The C library has no function for it. */
const SYS_openat2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_BENEATH = 0x08n;
const RESOLVE_IN_ROOT = 0x10n;
const attempts = 100;
const how = Buffer.alloc(24);

function escapes(error: SystemError): SystemError {
  return new SystemError(error.syscall, error.errno, error.path, {
    cause: error,
    hint: "The path leads out of the folder that it must stay in.",
  });
}
