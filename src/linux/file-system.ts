import { displayPath, cPath, libc, type PathLike } from "./libc.ts";
import { failureOf } from "./descriptor.ts";
import { SystemError } from "./system-error.ts";

export type FileSystemKind = "xfs" | "btrfs" | "ext4" | "tmpfs" | "overlay" | "other";

export interface FileSystemStatus {
  /** ext4 stands for ext2 and ext3 as well, which tell nobody. */
  readonly kind: FileSystemKind;
  /** As in statfs(2). */
  readonly magic: number;
  /** What space is given out in, in bytes. */
  readonly blockSize: number;
  readonly totalBytes: number;
  /** With what is reserved for root. */
  readonly freeBytes: number;
  /** For everyone else. */
  readonly availableBytes: number;
  /** Infinity where inodes are made as needed: Btrfs. */
  readonly inodes: number;
  readonly freeInodes: number;
  readonly readOnly: boolean;
  /** MS_NOSUID, MS_NODEV, MS_NOEXEC and the atime flags of this mount, as mount(2) takes them. */
  readonly mountFlags: number;
}

/** What file system a path, or an open file, is on, and how full it is now. */
export function fileSystemOf(target: PathLike | number): FileSystemStatus {
  const c = libc();
  const result = typeof target === "number" ? c.fstatfs(target, buffer) : c.statfs(cPath(target), buffer);
  if (result !== 0) {
    const errno = c.errno();
    throw typeof target === "number"
      ? failureOf("fstatfs", errno, target)
      : new SystemError("statfs", errno, displayPath(target));
  }
  const magic = field(0);
  // f_frsize; where it is 0, f_bsize.
  const blockSize = field(72) || field(8);
  const inodes = field(40);
  const flags = field(80);
  return {
    kind: kinds.get(magic) ?? "other",
    magic,
    blockSize,
    totalBytes: field(16) * blockSize,
    freeBytes: field(24) * blockSize,
    availableBytes: field(32) * blockSize,
    inodes: inodes === 0 ? Infinity : inodes,
    freeInodes: inodes === 0 ? Infinity : field(48),
    readOnly: (flags & ST_RDONLY) !== 0,
    mountFlags: mountFlagsOf(flags),
  };
}

// struct statfs of x86-64 and aarch64, each s64: f_type @0, f_bsize @8, f_blocks @16, f_bfree @24, f_bavail @32,
// f_files @40, f_ffree @48, f_fsid @56, f_namelen @64, f_frsize @72, f_flags @80, f_spare[4].
const buffer = Buffer.alloc(120);

function field(at: number): number {
  return Number(buffer.readBigUInt64LE(at));
}

const kinds = new Map<number, FileSystemKind>([
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlay"],
]);

const ST_RDONLY = 0x1;
/** Of f_flags to the flag of mount(2); the others have one value in both. */
const ST_RELATIME = 0x1000;
const MS_RELATIME = 0x20_0000;
/** nosuid, nodev, noexec, noatime, nodiratime */
const sameInBoth = 0x2 | 0x4 | 0x8 | 0x400 | 0x800;

function mountFlagsOf(flags: number): number {
  return (flags & sameInBoth) | ((flags & ST_RELATIME) === 0 ? 0 : MS_RELATIME);
}
