import { type ByteString, displayBytes } from "#base/bytes.ts";
import { faultOfName } from "./composefs-tree.ts";
import {
  blockSize,
  chunkBitsOf,
  direntSize,
  type ErofsFormat,
  layout,
  minChunkBits,
  slotSize,
} from "./erofs-format.ts";
import type { StoredInode } from "./erofs-inode.ts";
import type { ImageSpace } from "./erofs-space.ts";
import { corruptImage } from "./erofs-superblock.ts";

export interface Dirent {
  readonly name: ByteString;
  readonly nid: number;
  readonly type: number;
}

/** A range of bytes of the image. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** Reads what inodes have for data: content, names, chunk tables. */
export class DataReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #space: ImageSpace;
  readonly #format: ErofsFormat;

  constructor(bytes: Buffer, space: ImageSpace, format: ErofsFormat) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#space = space;
    this.#format = format;
  }

  /** A copy of all data. @throws OneholdError "corrupt" */
  content(inode: StoredInode): Buffer {
    const [blocks, tail] = this.#take(inode);
    const content = Buffer.from(this.#bytes.subarray(blocks.start, blocks.end));
    if (tail.start === tail.end) return content;
    const behind = this.#bytes.subarray(tail.start, tail.end);
    return content.length === 0 ? Buffer.from(behind) : Buffer.concat([content, behind]);
  }

  /** The names of a directory, each after the one before it in the order of bytes. @throws OneholdError "corrupt" */
  dirents(inode: StoredInode): Dirent[] {
    const [blocks, tail] = this.#take(inode);
    const dirents: Dirent[] = [];
    for (let start = blocks.start; start < blocks.end; start += blockSize) {
      this.#readDirents(start, Math.min(start + blockSize, blocks.end), dirents);
    }
    if (tail.start < tail.end) this.#readDirents(tail.start, tail.end, dirents);
    return dirents;
  }

  /** For inodes whose data is outside of the image: checks that their chunks are holes. @throws OneholdError "corrupt" */
  demandHoles({ nid, size, union, tailStart }: StoredInode): void {
    const start = nid * slotSize;
    const isLate = this.#format === 2;
    const bits = isLate ? 31 : chunkBitsOf(size) - minChunkBits;
    const length = isLate ? 4 : Math.ceil(size / 2 ** (bits + minChunkBits)) * 4;
    const fits = (tailStart % blockSize) + length <= blockSize;
    // A table that has no room behind its inode is a block of its own, whose number mixes with the form of the chunks.
    const isBlock = !fits && start % blockSize === 0 && !isLate;
    if (isBlock ? (union & 0xffff) !== bits : !fits || union !== bits) {
      throw corruptImage(`the inode ${nid} has chunks of a wrong size`);
    }
    const end = isBlock ? tailStart : tailStart + length;
    this.#space.take(start, end - start, `the inode ${nid}`);
    for (let at = tailStart; at < end; at++) {
      if (this.#bytes[at] !== 0xff) throw corruptImage(`the inode ${nid} has chunks in the image`);
    }
  }

  /** For inodes without data. */
  demandEmpty(inode: StoredInode): void {
    if (inode.size !== 0) throw corruptImage(`the inode ${inode.nid} has data, which no file of its type has`);
    this.#take(inode);
  }

  /** Where the data is: blocks, and what stands behind the inode. */
  #take({ nid, size, union, tailStart, layout: dataLayout }: StoredInode): [Range, Range] {
    const start = nid * slotSize;
    const what = `the inode ${nid}`;
    if (dataLayout === layout.chunks) throw corruptImage(`${what} has chunks, which no file of its type has`);
    const tail = dataLayout === layout.inline ? size % blockSize : 0;
    if ((tailStart % blockSize) + tail > blockSize) throw corruptImage(`${what} has data across two blocks`);
    this.#space.take(start, tailStart + tail - start, what);
    const inBlocks = size - tail;
    const first = union * blockSize;
    if (inBlocks > 0) this.#space.take(first, inBlocks, `the data of ${what}`);
    return [
      { start: first, end: first + inBlocks },
      { start: tailStart, end: tailStart + tail },
    ];
  }

  #readDirents(start: number, end: number, to: Dirent[]): void {
    const names = start + direntSize <= end ? this.#view.getUint16(start + 8, true) : 0;
    const count = names / direntSize;
    if (names === 0 || !Number.isInteger(count) || start + names > end)
      throw corruptImage("a directory has no entries");
    let nameStart = start + names;
    let before = to.at(-1)?.name ?? "";
    for (let at = start; at < start + names; at += direntSize) {
      const isLast = at + direntSize === start + names;
      const nameEnd = isLast
        ? this.#endOfName(nameStart, end)
        : start + this.#view.getUint16(at + direntSize + 8, true);
      if (nameEnd <= nameStart || nameEnd > end) throw corruptImage("a directory has an entry without a name");
      const name = this.#bytes.toString("latin1", nameStart, nameEnd) as ByteString;
      const isDots = name === "." || name === "..";
      const fault = isDots ? undefined : faultOfName(name);
      if (fault !== undefined) throw corruptImage(`a directory ${fault}`);
      if (name <= before) throw corruptImage(`a directory has ${displayBytes(name)} twice, or not in order`);
      if (this.#view.getUint32(at + 4, true) !== 0) throw corruptImage("a directory has an entry of no inode");
      to.push({ name, nid: this.#view.getUint32(at, true), type: this.#view.getUint8(at + 10) });
      before = name;
      nameStart = nameEnd;
    }
  }

  /** The last name of a block goes up to a NUL, or to the end. */
  #endOfName(start: number, end: number): number {
    const nul = this.#bytes.subarray(start, end).indexOf(0);
    return nul < 0 ? end : start + nul;
  }
}
