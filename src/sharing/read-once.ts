import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";

/** Takes a file's content as it is read: what one store names it by, say. */
export interface ContentReader {
  /** The next bytes, valid until the call returns. The `scratchBytes` before them in their memory may be overwritten. */
  update(piece: Buffer): void;
}

/** Room before each piece, so that a reader can put a header of its own in front of it without copying. */
export const scratchBytes = 4096;

/** Small enough for the second-level cache: each reader goes over the piece again. */
const pieceSize = 256 * 1024;
const buffer = Buffer.allocUnsafeSlow(scratchBytes + pieceSize);

/**
 * Reads a file once for all its readers, in pieces; one of up to 256 KiB in one piece, an empty one in none.
 * Nothing else may read in the same thread meanwhile. @throws corrupt where the file turns out shorter
 */
export function readOnce(fd: number, size: number, readers: readonly ContentReader[]): void {
  for (let position = 0; position < size; ) {
    const length = Math.min(pieceSize, size - position);
    for (let done = 0; done < length; ) {
      const count = fs.readSync(fd, buffer, scratchBytes + done, length - done, position + done);
      if (count === 0) throw new OneholdError("corrupt", "a file became shorter while it was read");
      done += count;
    }
    const piece = buffer.subarray(scratchBytes, scratchBytes + length);
    for (const reader of readers) reader.update(piece);
    position += length;
  }
}
