import { failureOf } from "./descriptor.ts";
import { libc } from "./libc.ts";

/** A run of a file's bytes, and where they are on the device. Offsets and lengths in bytes. */
export interface Extent {
  readonly logical: number;
  /** Of Btrfs: an address in its own logical space. Two files share bytes where this is equal. 0 where `inline` or `unknown`. */
  readonly physical: number;
  readonly length: number;
  /** Another file, or another place of this one, has the same bytes on the disk. */
  readonly shared: boolean;
  /** Kept in the file system's metadata. */
  readonly inline: boolean;
  /** Reserved, and read as zeros. */
  readonly unwritten: boolean;
  /** Not placed yet (not written out), or the file system does not tell. */
  readonly unknown: boolean;
  /** Compressed or encrypted: on the disk it is not `length` bytes long. */
  readonly encoded: boolean;
}

export interface ExtentsOptions {
  /** Write the file out first, so that nothing is `unknown` for that reason. */
  readonly sync?: boolean;
}

/**
 * Where the bytes of a file are (FIEMAP). Holes are left out. SystemError EOPNOTSUPP where the file system
 * does not tell: tmpfs, overlayfs.
 */
export function extentsOf(fd: number, options: ExtentsOptions = {}): Extent[] {
  const extents: Extent[] = [];
  let flags = options.sync === true ? FIEMAP_FLAG_SYNC : 0;
  let start = 0;
  for (;;) {
    const count = map(fd, start, flags);
    for (let index = 0; index < count; index += 1) extents.push(readExtent(headerSize + index * extentSize));
    const last = extents.at(-1);
    if (count === 0 || last === undefined || isLast(count - 1)) return extents;
    start = last.logical + last.length;
    flags = 0;
  }
}

const FS_IOC_FIEMAP = 0xc020660b;
const FIEMAP_FLAG_SYNC = 1;
const LAST = 0x1;
const UNKNOWN = 0x2;
const ENCODED = 0x8;
const DATA_INLINE = 0x200;
const UNWRITTEN = 0x800;
const SHARED = 0x2000;

// struct fiemap: fm_start u64 @0, fm_length u64 @8, fm_flags u32 @16, fm_mapped_extents u32 @20, fm_extent_count
// u32 @24, reserved u32; then of struct fiemap_extent: fe_logical u64 @0, fe_physical u64 @8, fe_length u64 @16,
// reserved u64[2], fe_flags u32 @40, reserved u32[3].
const headerSize = 32;
const extentSize = 56;
const batch = 256;
const buffer = Buffer.alloc(headerSize + batch * extentSize);

function map(fd: number, start: number, flags: number): number {
  writeU64(start, 0);
  buffer.fill(0xff, 8, 16); // to the end of the file
  buffer.writeUInt32LE(flags, 16);
  buffer.writeUInt32LE(0, 20);
  buffer.writeUInt32LE(batch, 24);
  const c = libc();
  if (c.ioctl(fd, FS_IOC_FIEMAP, buffer) !== 0) throw failureOf("ioctl FIEMAP", c.errno(), fd);
  return buffer.readUInt32LE(20);
}

function readExtent(at: number): Extent {
  const flags = buffer.readUInt32LE(at + 40);
  return {
    logical: readU64(at),
    physical: readU64(at + 8),
    length: readU64(at + 16),
    shared: (flags & SHARED) !== 0,
    inline: (flags & DATA_INLINE) !== 0,
    unwritten: (flags & UNWRITTEN) !== 0,
    unknown: (flags & UNKNOWN) !== 0,
    encoded: (flags & ENCODED) !== 0,
  };
}

function isLast(index: number): boolean {
  return (buffer.readUInt32LE(headerSize + index * extentSize + 40) & LAST) !== 0;
}

// Not as bigint: accounting reads millions of these, and no disk is 2^53 bytes large.
function readU64(at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
}

function writeU64(value: number, at: number): void {
  buffer.writeUInt32LE(value % 0x1_0000_0000, at);
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
