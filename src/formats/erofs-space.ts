import { slotSize } from "./erofs-format.ts";
import { corruptImage } from "./erofs-superblock.ts";

/**
 * Which parts of an image something has been read from. Nothing may be read twice: then the work of reading an
 * image, and the tree that comes of it, can't outgrow the image, whatever refers to what in it.
 */
export class ImageSpace {
  readonly #taken: Uint8Array;
  readonly #size: number;

  /** @param size bytes of the image */
  constructor(size: number) {
    this.#size = size;
    this.#taken = new Uint8Array(Math.ceil(size / slotSize));
  }

  /** Bytes that begin a slot. @throws OneholdError "corrupt" where they are beyond the image, or were taken */
  take(start: number, length: number, what: string): void {
    if (start + length > this.#size) throw corruptImage(`${what} lies beyond its end`);
    const end = Math.ceil((start + length) / slotSize);
    for (let slot = start / slotSize; slot < end; slot++) {
      if (this.#taken[slot] !== 0) throw corruptImage(`${what} overlaps another, or is there twice`);
      this.#taken[slot] = 1;
    }
  }
}
