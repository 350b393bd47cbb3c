import { type ByteString, displayBytes } from "#base/bytes.ts";
import { pathOfFd } from "./descriptor.ts";
import { cPath, displayPath, libc, type PathLike } from "./libc.ts";
import { SystemError } from "./system-error.ts";

/** An open file (not one opened with O_PATH), or a path, whose last component is not followed where it is a symlink. */
export type XattrTarget = { readonly fd: number } | { readonly path: PathLike };

/**
 * The names of all extended attributes, in no particular order. Empty where the file system has none at all.
 * Without root, `trusted.*` is not among them.
 */
export function listXattrs(target: XattrTarget): ByteString[] {
  const c = libc();
  let buffer = small;
  let length = list(target, buffer);
  let errno = length < 0 ? c.errno() : 0;
  if (errno === ERANGE) {
    buffer = large;
    length = list(target, buffer);
    errno = length < 0 ? c.errno() : 0;
  }
  if (length > 0) return buffer.toString("latin1", 0, length - 1).split("\0") as ByteString[];
  if (length === 0 || errno === EOPNOTSUPP) return [];
  throw failure("listxattr", errno, target);
}

/** The value, in memory of its own; undefined where there is no such attribute, or the file system can't have it. */
export function getXattr(target: XattrTarget, name: ByteString): Buffer | undefined {
  const c = libc();
  const cName = encodeName(name);
  let buffer = small;
  let length = get(target, cName, buffer);
  let errno = length < 0 ? c.errno() : 0;
  if (errno === ERANGE) {
    buffer = large;
    length = get(target, cName, buffer);
    errno = length < 0 ? c.errno() : 0;
  }
  if (length >= 0) return Buffer.from(buffer.subarray(0, length));
  if (errno === ENODATA || errno === EOPNOTSUPP) return undefined;
  throw failure("getxattr", errno, target, name);
}

/** Makes the attribute, or replaces its value. SystemError: ENOSPC, E2BIG and ERANGE where there is no room for it. */
export function setXattr(target: XattrTarget, name: ByteString, value: Buffer): void {
  const c = libc();
  const cName = encodeName(name);
  const result =
    "fd" in target
      ? c.fsetxattr(target.fd, cName, value, value.length, 0)
      : c.lsetxattr(cPath(target.path), cName, value, value.length, 0);
  if (result !== 0) throw failure("setxattr", c.errno(), target, name);
}

/** False where there was no such attribute. */
export function removeXattr(target: XattrTarget, name: ByteString): boolean {
  const c = libc();
  const cName = encodeName(name);
  const result = "fd" in target ? c.fremovexattr(target.fd, cName) : c.lremovexattr(cPath(target.path), cName);
  if (result === 0) return true;
  const errno = c.errno();
  if (errno === ENODATA) return false;
  throw failure("removexattr", errno, target, name);
}

const EINVAL = 22;
const ERANGE = 34;
const ENODATA = 61;
const EOPNOTSUPP = 95;

// The kernel clears as much memory as we offer, so what is nearly always enough comes first. No list and no
// value exceeds 64 KiB (XATTR_LIST_MAX, XATTR_SIZE_MAX): the second try can't fail because one grew meanwhile.
const small = Buffer.allocUnsafeSlow(1024);
const large = Buffer.allocUnsafeSlow(64 * 1024);
const longestName = 255;
const nameBuffer = Buffer.allocUnsafeSlow(longestName + 1);

function list(target: XattrTarget, buffer: Buffer): number {
  const c = libc();
  return "fd" in target
    ? c.flistxattr(target.fd, buffer, buffer.length)
    : c.llistxattr(cPath(target.path), buffer, buffer.length);
}

function get(target: XattrTarget, name: Buffer, buffer: Buffer): number {
  const c = libc();
  return "fd" in target
    ? c.fgetxattr(target.fd, name, buffer, buffer.length)
    : c.lgetxattr(cPath(target.path), name, buffer, buffer.length);
}

function encodeName(name: ByteString): Buffer {
  if (name.length > longestName) throw new SystemError("xattr name", ERANGE, displayBytes(name));
  if (name.includes("\0")) throw new SystemError("xattr name", EINVAL, JSON.stringify(name));
  nameBuffer[nameBuffer.write(name, "latin1")] = 0;
  return nameBuffer;
}

function failure(syscall: string, errno: number, target: XattrTarget, name?: ByteString): SystemError {
  const path = "fd" in target ? pathOfFd(target.fd) : displayPath(target.path);
  return new SystemError(syscall, errno, path, name === undefined ? {} : { aspect: displayBytes(name) });
}
