import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { blockSize, direntSize } from "./erofs-format.ts";

/** A longer rest of a directory's or a file's data becomes a block of its own. */
export const maxTail = blockSize / 2;

export interface DataSize {
  readonly blocks: number;
  /** Bytes behind the inode itself. */
  readonly tail: number;
}

/** What a directory with these names takes, `.` and `..` among them. */
export function directorySize(names: readonly ByteString[]): DataSize {
  let blocks = 0;
  let tail = 0;
  for (const name of names) {
    const size = direntSize + name.length;
    if (tail + size > blockSize) {
      blocks++;
      tail = 0;
    }
    tail += size;
  }
  return tail > maxTail ? { blocks: blocks + 1, tail: 0 } : { blocks, tail };
}

/** The index after the last of the names that one block holds, from `start` on. */
export function endOfBlock(names: readonly ByteString[], start: number): number {
  let used = 0;
  for (let index = start; index < names.length; index++) {
    used += direntSize + (names[index]?.length ?? 0);
    if (used > blockSize) return index;
  }
  return names.length;
}

/** The names with `.` and `..` at their places, in order. */
export function withDots(sorted: readonly ByteString[]): ByteString[] {
  const names = [...sorted];
  for (const dots of [byteStringOfText("."), byteStringOfText("..")]) {
    const place = names.findIndex((name) => name > dots);
    names.splice(place < 0 ? names.length : place, 0, dots);
  }
  return names;
}
