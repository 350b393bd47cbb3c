import type { ByteString } from "#base/bytes.ts";
import { fileType } from "./composefs-tree.ts";

/**
 * What composefs makes of EROFS (Linux: fs/erofs/erofs_fs.h): blocks of 4096 bytes, little-endian. Format 0 and 1 are
 * those of the C tools, 2 that of composefs-rs.
 */
export type ErofsFormat = 0 | 1 | 2;

export const blockBits = 12;
export const blockSize = 1 << blockBits;
/** Inodes begin at multiples of this, and are numbered so. */
export const slotSize = 32;
export const compactSize = 32;
export const extendedSize = 64;
export const direntSize = 12;
export const xattrHeaderSize = 12;

/** composefs-rs reads no larger images. */
export const maxImage = 1 << 30;

export const headerMagic = 0xd078629a;
export const headerVersion = 1;
/** In the composefs header: the image has POSIX ACLs. */
export const flagAcl = 1;

export const superblockOffset = 1024;
export const superblockMagic = 0xe0f5e1e2;
export const firstInode = 1152;
/** Inodes have a time; xattrs have a filter of their names. */
export const featureMtime = 2;
export const featureXattrFilter = 4;

/** How an inode's data is stored. */
export const layout = { plain: 0, inline: 2, chunks: 4 } as const;

/** An entry of a chunk table that says: a hole. */
export const nullChunk = 0xffffffff;
export const minChunkBits = 12;
export const maxChunkBits = 43;
/** The most entries that the C tools write. */
export const maxChunks = 1024;

const direntTypes: ReadonlyMap<number, number> = new Map([
  [fileType.regular, 1],
  [fileType.directory, 2],
  [fileType.char, 3],
  [fileType.block, 4],
  [fileType.fifo, 5],
  [fileType.socket, 6],
  [fileType.symlink, 7],
]);

/** The type of file, as a directory entry has it. */
export function direntTypeOfMode(mode: number): number {
  return direntTypes.get(mode & fileType.mask) ?? 0;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Two hex digits: names that a layer of objects has, which an image of format 0 or 1 hides in its root. */
export const stubNames: readonly ByteString[] = Array.from(
  { length: 256 },
  (_, number) => number.toString(16).padStart(2, "0") as ByteString,
);

/** Bits of the smallest power of two that holds `size` bytes, within the bounds of the format. */
export function chunkBitsOf(size: number): number {
  const last = Math.max(size - 1, 0);
  const high = Math.floor(last / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(last);
  return Math.min(Math.max(bits, minChunkBits), maxChunkBits);
}
