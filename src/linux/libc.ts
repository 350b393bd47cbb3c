import { createRequire } from "node:module";
import { displayBytes, byteString } from "#base/bytes.ts";
import { SystemError } from "./system-error.ts";

/**
 * Text of our own, or bytes of a file name. A ByteString is not taken (its bytes would be encoded a second
 * time): convert it with `bytesOf`.
 */
export type PathLike = (string & { readonly __brand?: never }) | Buffer;

/** A buffer is handed over as its address; lengths and offsets stay below 2^53. */
export interface Libc {
  readonly openat: (dirFd: number, path: Buffer, flags: number, mode: number) => number;
  readonly close: (fd: number) => number;
  readonly linkat: (oldDirFd: number, oldPath: Buffer, newDirFd: number, newPath: Buffer, flags: number) => number;
  readonly renameat2: (oldDirFd: number, oldPath: Buffer, newDirFd: number, newPath: Buffer, flags: number) => number;
  readonly syscall: (number: number, a: number, b: Buffer, c: Buffer, d: number) => number;
  readonly fsopen: (number: number, type: Buffer, flags: number) => number;
  readonly fsconfig: (
    number: number,
    fd: number,
    command: number,
    key: Buffer | null,
    value: Buffer | null,
    aux: number,
  ) => number;
  readonly fsmount: (number: number, fd: number, flags: number, attributes: number) => number;
  readonly moveMount: (
    number: number,
    from: number,
    fromPath: Buffer,
    to: number,
    toPath: Buffer,
    flags: number,
  ) => number;
  readonly ioctlValue: (fd: number, request: number, value: number) => number;
  readonly ioctl: (fd: number, request: number, argument: Buffer) => number;
  readonly fcntlValue: (fd: number, command: number, value: number) => number;
  readonly fcntl: (fd: number, command: number, argument: Buffer) => number;
  readonly flock: (fd: number, operation: number) => number;
  readonly syncfs: (fd: number) => number;
  /** The same on another thread; `done` is called when it has ended, however it did. */
  readonly syncfsAside: (fd: number, done: () => void) => void;
  readonly statfs: (path: Buffer, result: Buffer) => number;
  readonly fstatfs: (fd: number, result: Buffer) => number;
  readonly mount: (source: Buffer, target: Buffer, type: Buffer | null, flags: number, data: Buffer | null) => number;
  readonly umount2: (target: Buffer, flags: number) => number;
  readonly flistxattr: (fd: number, list: Buffer, size: number) => number;
  readonly llistxattr: (path: Buffer, list: Buffer, size: number) => number;
  readonly fgetxattr: (fd: number, name: Buffer, value: Buffer, size: number) => number;
  readonly lgetxattr: (path: Buffer, name: Buffer, value: Buffer, size: number) => number;
  readonly fsetxattr: (fd: number, name: Buffer, value: Buffer, size: number, flags: number) => number;
  readonly lsetxattr: (path: Buffer, name: Buffer, value: Buffer, size: number, flags: number) => number;
  readonly fremovexattr: (fd: number, name: Buffer) => number;
  readonly lremovexattr: (path: Buffer, name: Buffer) => number;
  /** Of the last call that failed: ask at once. */
  readonly errno: () => number;
}

let bound: Libc | undefined;

/**
 * The C library, bound on first use: koffi takes 10 ms of a process's start, which `--help` should not pay.
 * This is the only file that knows koffi.
 */
export function libc(): Libc {
  return (bound ??= bind());
}

function bind(): Libc {
  const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
  const library = koffi.load(null);
  const declare = (name: string, result: "int" | "int64", ...parameters: string[]) =>
    library.func(name, result, parameters);
  // C declares openat, ioctl, fcntl and syscall with `...`. On x86-64 and aarch64 Linux integers and pointers
  // travel the same way to a variadic function, and a fixed declaration makes a call a fifth cheaper.
  return {
    openat: declare("openat", "int", "int", bytes, "int", "uint32"),
    close: declare("close", "int", "int"),
    linkat: declare("linkat", "int", "int", bytes, "int", bytes, "int"),
    renameat2: declare("renameat2", "int", "int", bytes, "int", bytes, "uint32"),
    syscall: declare("syscall", "int64", "int64", "int64", bytes, bytes, "uint64"),
    // By number: C libraries older than 2.36 have no functions for these.
    fsopen: declare("syscall", "int64", "int64", bytes, "uint64"),
    fsconfig: declare("syscall", "int64", "int64", "int64", "uint64", bytes, bytes, "int64"),
    fsmount: declare("syscall", "int64", "int64", "int64", "uint64", "uint64"),
    moveMount: declare("syscall", "int64", "int64", "int64", bytes, "int64", bytes, "uint64"),
    ioctlValue: declare("ioctl", "int", "int", "uint64", "int64"),
    ioctl: declare("ioctl", "int", "int", "uint64", memory),
    fcntlValue: declare("fcntl", "int", "int", "int", "int"),
    fcntl: declare("fcntl", "int", "int", "int", memory),
    flock: declare("flock", "int", "int", "int"),
    syncfs: declare("syncfs", "int", "int"),
    syncfsAside: (fd, done) => {
      library.func("syncfs", "int", ["int"]).async(fd, done);
    },
    statfs: declare("statfs", "int", bytes, memory),
    fstatfs: declare("fstatfs", "int", "int", memory),
    mount: declare("mount", "int", bytes, bytes, bytes, "uint64", bytes),
    umount2: declare("umount2", "int", bytes, "int"),
    flistxattr: declare("flistxattr", "int64", "int", memory, "uint64"),
    llistxattr: declare("llistxattr", "int64", bytes, memory, "uint64"),
    fgetxattr: declare("fgetxattr", "int64", "int", bytes, memory, "uint64"),
    lgetxattr: declare("lgetxattr", "int64", bytes, bytes, memory, "uint64"),
    fsetxattr: declare("fsetxattr", "int", "int", bytes, bytes, "uint64", "int"),
    lsetxattr: declare("lsetxattr", "int", bytes, bytes, bytes, "uint64", "int"),
    fremovexattr: declare("fremovexattr", "int", "int", bytes),
    lremovexattr: declare("lremovexattr", "int", bytes, bytes),
    errno: koffi.errno,
  };
}

const bytes = "const void *";
const memory = "void *";

/** PATH_MAX of the kernel, with the final NUL. */
const longestPath = 4096;
const first = Buffer.allocUnsafe(longestPath);
const second = Buffer.allocUnsafe(longestPath);

/**
 * The path as C wants it, in a buffer that the next call overwrites: so a system call with a path allocates
 * nothing. A NUL inside would cut the path short for the kernel, thus name another file: refused.
 */
export function cPath(path: PathLike): Buffer {
  return encode(first, path);
}

/** As `cPath`, for the second path of one system call. */
export function cSecondPath(path: PathLike): Buffer {
  return encode(second, path);
}

function encode(target: Buffer, path: PathLike): Buffer {
  let length: number;
  if (typeof path === "string") {
    // A string that is surely short enough needs no counting: at most 3 bytes for each UTF-16 unit.
    if (path.length * 3 >= longestPath && Buffer.byteLength(path) >= longestPath) throw tooLong(path);
    if (path.includes("\0")) throw embeddedNul(path);
    length = target.write(path, "utf8");
  } else {
    if (path.length >= longestPath) throw tooLong(path);
    if (path.includes(0)) throw embeddedNul(path);
    length = path.copy(target, 0);
  }
  target[length] = 0;
  return target;
}

/** For messages only. */
export function displayPath(path: PathLike): string {
  return typeof path === "string" ? path : displayBytes(byteString(path));
}

const ENAMETOOLONG = 36;
const EINVAL = 22;

function tooLong(path: PathLike): SystemError {
  const shown = displayPath(path);
  return new SystemError("path", ENAMETOOLONG, `${shown.slice(0, 100)}…`, { subject: shown });
}

function embeddedNul(path: PathLike): SystemError {
  return new SystemError("path", EINVAL, JSON.stringify(displayPath(path)), { hint: "A path can't hold a NUL byte." });
}
