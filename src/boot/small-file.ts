import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError } from "#linux/system-error.ts";

/** Bytes. Boot entries, origins and what is in /run have a few thousand. */
const most = 1 << 20;

/**
 * A whole file as bytes; undefined where there is none. Symlinks are followed, but a FIFO or a device is never
 * waited for. @throws OneholdError "corrupt" for what is no regular file or too large
 */
export function readSmallFile(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw toSystemError(error);
  }
  try {
    const status = fs.fstatSync(fd);
    if (!status.isFile()) throw new OneholdError("corrupt", `${path} is not a regular file`, { subject: path });
    // What /proc makes up has no size: it is the bytes that count.
    const bytes = Buffer.allocUnsafe(Math.min(Math.max(status.size, 1 << 12), most) + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count) {
      count = fs.readSync(fd, bytes, length, bytes.length - length, null);
    }
    if (length === bytes.length) {
      throw new OneholdError("corrupt", `${path} has more bytes than can be right (the limit is ${most})`, {
        subject: path,
      });
    }
    return bytes.subarray(0, length);
  } catch (error) {
    throw toSystemError(error);
  } finally {
    fs.closeSync(fd);
  }
}

/** The names in a directory, sorted; none where there is no directory. */
export function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory).toSorted();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw toSystemError(error);
  }
}

/** What a symlink says; undefined where there is nothing. @throws OneholdError "corrupt" where it is something else */
export function readLink(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    if (isErrno(error, "EINVAL")) throw new OneholdError("corrupt", `${path} is not a symlink`, { subject: path });
    throw toSystemError(error);
  }
}
