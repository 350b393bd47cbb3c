import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ComposefsCompat, Timestamp } from "./composefs-tree.ts";
import { directorySize, maxTail } from "./erofs-directory.ts";
import {
  blockSize,
  chunkBitsOf,
  compactSize,
  type ErofsFormat,
  extendedSize,
  firstInode,
  layout,
  maxChunks,
  maxImage,
  minChunkBits,
  roundUp,
  slotSize,
} from "./erofs-format.ts";
import type { Plan, PlannedInode } from "./erofs-plan.ts";
import { entrySize } from "./erofs-xattr-pool.ts";

/** Where the parts of an image go. The arrays have an element for each inode, in the plan's order. */
export interface ImageLayout {
  readonly positions: Float64Array;
  readonly compact: Uint8Array;
  readonly layouts: Uint8Array;
  readonly xattrSizes: Uint32Array;
  readonly sizes: Float64Array;
  readonly blocks: Uint32Array;
  readonly tails: Uint32Array;
  /** The number of an inode's first block, or, for those without, of the next one's. */
  readonly firstBlocks: Uint32Array;
  /** The oldest time, which the superblock has for all inodes that have it. */
  readonly oldest: Timestamp;
  /** Where the shared xattrs begin. */
  readonly sharedStart: number;
  readonly imageSize: number;
}

export function layOut({ inodes, pool, shared }: Plan, format: ErofsFormat, compat: ComposefsCompat): ImageLayout {
  const count = inodes.length;
  const result = {
    positions: new Float64Array(count),
    compact: new Uint8Array(count),
    layouts: new Uint8Array(count),
    xattrSizes: new Uint32Array(count),
    sizes: new Float64Array(count),
    blocks: new Uint32Array(count),
    tails: new Uint32Array(count),
    firstBlocks: new Uint32Array(count),
    oldest: oldestOf(inodes, compat),
    sharedStart: 0,
    imageSize: 0,
  };
  const place = format === 2 ? placeLate : placeEarly;
  let end = firstInode;
  for (const inode of inodes) {
    const { index } = inode;
    measure(inode, result, format);
    const isCompact = format !== 2 && fitsCompact(inode, result.sizes[index] ?? 0, result.oldest);
    result.compact[index] = isCompact ? 1 : 0;
    const area = pool.areaSize(inode.xattrs);
    result.xattrSizes[index] = area;
    const head = (isCompact ? compactSize : extendedSize) + area;
    const position = place(roundUp(end, slotSize), head, inode, result);
    result.positions[index] = position;
    end = position + head + (result.tails[index] ?? 0);
    if (end > maxImage) throw tooLarge();
  }
  const sharedStart = roundUp(end, slotSize);
  let sharedEnd = sharedStart;
  for (const xattr of shared.table) {
    xattr.id = (format === 2 ? sharedEnd : (sharedStart % blockSize) + sharedEnd - sharedStart) / 4;
    sharedEnd += entrySize(xattr);
  }
  let block = Math.ceil(sharedEnd / blockSize);
  for (let index = 0; index < count; index++) {
    result.firstBlocks[index] = block;
    block += result.blocks[index] ?? 0;
  }
  if (block * blockSize > maxImage) throw tooLarge();
  return Object.assign(result, { sharedStart, imageSize: block * blockSize });
}

type Measures = Pick<ImageLayout, "layouts" | "sizes" | "blocks" | "tails">;

/** How much data an inode has in blocks, how much behind itself, and what it says of its size. */
function measure(inode: PlannedInode, to: Measures, format: ErofsFormat): void {
  const { source, index } = inode;
  const { uid, gid } = source.metadata;
  if (uid > mostOwner || gid > mostOwner) throw impossible(`a file of the owner ${uid}:${gid}`);
  let [size, blocks, tail] = [0, 0, 0];
  switch (source.kind) {
    case "directory":
      ({ blocks, tail } = directorySize(inode.names));
      size = blocks * blockSize + tail;
      break;
    case "inline":
      size = source.content.length;
      demandInline(size, format === 2 ? 512 : 5000, "a file with content of its own");
      blocks = Math.floor(size / blockSize);
      tail = size % blockSize;
      if (tail > maxTail) [blocks, tail] = [blocks + 1, 0];
      break;
    case "symlink":
      size = tail = source.target.length;
      if (size === 0) throw impossible("a symlink without a target");
      demandInline(size, format === 2 ? 1024 : 4095, "a symlink");
      break;
    case "external":
      size = source.size;
      tail = format === 2 ? 4 : chunksOf(size) * 4;
      break;
    case "special":
      break;
  }
  to.sizes[index] = size;
  to.blocks[index] = blocks;
  to.tails[index] = tail;
  to.layouts[index] = tail === 0 ? layout.plain : source.kind === "external" ? layout.chunks : layout.inline;
}

/** The entries of a chunk table. @throws OneholdError "unsupported" */
function chunksOf(size: number): number {
  const chunks = Math.ceil(size / 2 ** chunkBitsOf(size));
  if (chunks > maxChunks) {
    throw impossible(`a file of ${size} bytes`);
  }
  return chunks;
}

function demandInline(length: number, most: number, what: string): void {
  if (length > most) throw impossible(`${what} of ${length} bytes: at most ${most} in this format`);
}

const mostOwner = 0xffffffff;

function impossible(what: string): OneholdError {
  return new OneholdError("unsupported", `a composefs image can't hold ${what}`);
}

/** Formats 0 and 1. Returns where an inode goes; may turn what stands behind it into a block. */
function placeEarly(position: number, head: number, { source, index }: PlannedInode, to: Measures): number {
  const tail = to.tails[index] ?? 0;
  const total = head + tail;
  if (source.kind === "symlink") {
    if (total >= blockSize) promote(to, index);
    // Kernels before 6.12 refuse a target that lies across blocks.
    const crosses = Math.floor(position / blockSize) !== Math.floor((position + total - 1) / blockSize);
    return crosses ? roundUp(position, blockSize) : position;
  }
  const room = blockSize - ((position + head) % blockSize);
  if (room >= tail) return position;
  const padded = position + roundUp(room, slotSize);
  if (blockSize - ((padded + head) % blockSize) >= tail) return padded;
  promote(to, index);
  return roundUp(position, blockSize);
}

function promote(to: Measures, index: number): void {
  to.blocks[index] = (to.blocks[index] ?? 0) + 1;
  to.tails[index] = 0;
  if (to.layouts[index] === layout.inline) to.layouts[index] = layout.plain;
}

/** Format 2. */
function placeLate(position: number, head: number, { index }: PlannedInode, to: Measures): number {
  if (to.layouts[index] !== layout.inline) return position;
  const start = position + head;
  const last = start - 1;
  const end = start + ((to.sizes[index] ?? 0) % blockSize);
  if (Math.floor(last / blockSize) === Math.floor(end / blockSize)) return position;
  return roundUp(position + blockSize - (last % blockSize), slotSize);
}

function fitsCompact({ source, links }: PlannedInode, size: number, oldest: Timestamp): boolean {
  const { uid, gid, mtime } = source.metadata;
  const hasOldest = mtime.seconds === oldest.seconds && mtime.nanoseconds === oldest.nanoseconds;
  return hasOldest && links <= 0xffff && uid <= 0xffff && gid <= 0xffff && size <= 0xffffffff;
}

function oldestOf(inodes: readonly PlannedInode[], compat: ComposefsCompat): Timestamp {
  const [first] = inodes;
  if (first === undefined) throw new Error("an image has a root");
  let oldest = first.source.metadata.mtime;
  for (const { source } of inodes) if (isOlder(source.metadata.mtime, oldest, compat)) oldest = source.metadata.mtime;
  return oldest;
}

/** To composefs-rs, times before 1970 are later than all others. */
function isOlder(a: Timestamp, b: Timestamp, compat: ComposefsCompat): boolean {
  if (compat === "rust" && a.seconds < 0 !== b.seconds < 0) return b.seconds < 0;
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanoseconds < b.nanoseconds);
}

function tooLarge(): OneholdError {
  return new OneholdError("unsupported", `a composefs image of more than ${maxImage} bytes can't be read by composefs`);
}

/** What a device, a chunk table or data says in an inode: see the kernel's `i_u`. */
export function unionOf({ source, index }: PlannedInode, image: ImageLayout, format: ErofsFormat): number {
  const blocks = image.blocks[index] ?? 0;
  const firstBlock = image.firstBlocks[index] ?? 0;
  switch (source.kind) {
    case "special":
      return source.rdev;
    case "external": {
      if (format === 2) return 31;
      if (source.size === 0) return 0;
      const bits = chunkBitsOf(source.size) - minChunkBits;
      return blocks === 0 ? bits : ((firstBlock & 0xffff0000) | bits) >>> 0;
    }
    case "directory":
      return blocks > 0 || (format === 2 && image.layouts[index] === layout.plain) ? firstBlock : 0;
    case "inline":
    case "symlink":
      return blocks > 0 ? firstBlock : 0;
  }
}

/** The data of an inode that is no directory, in blocks and behind it; the latter alone where it is all. */
export function contentOf({ source }: PlannedInode): Buffer | ByteString | undefined {
  if (source.kind === "inline") return source.content;
  return source.kind === "symlink" ? source.target : undefined;
}
