import { hash } from "node:crypto";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";

/** Bytes hashed at a time, of the content and of each level of hashes. composefs knows no other size. */
const blockSize = 4096;

/** Bytes of a digest. */
export function verityDigestSize(algorithm: VerityAlgorithm): number {
  return algorithm === "sha256" ? 32 : 64;
}

/**
 * The fs-verity digest of content that arrives in pieces of any size: what the kernel measures for a file with
 * blocks of 4096 bytes and no salt (Documentation/filesystems/fsverity.rst). Memory: one block for each level of the
 * tree, of which a file of 2^53 bytes has seven.
 */
export class VerityDigester {
  readonly #algorithm: VerityAlgorithm;
  readonly #digestSize: number;
  /** Of the content: the block that is not full yet. */
  readonly #rest = new Block();
  /** Hashes that wait for their block to be full; the first level is that of the content's blocks. */
  readonly #levels: Block[] = [];
  /** How many of them this content has. */
  #height = 0;
  #size = 0;

  constructor(algorithm: VerityAlgorithm) {
    this.#algorithm = algorithm;
    this.#digestSize = verityDigestSize(algorithm);
  }

  update(bytes: Uint8Array): this {
    let position = 0;
    if (this.#rest.filled > 0) {
      position = this.#rest.fill(bytes);
      if (this.#rest.filled === blockSize) this.#flush(this.#rest, 0);
    }
    for (; position + blockSize <= bytes.length; position += blockSize) {
      this.#push(0, bytes.subarray(position, position + blockSize));
    }
    if (position < bytes.length) this.#rest.fill(bytes.subarray(position));
    this.#size += bytes.length;
    return this;
  }

  /** The digest of all that came; afterwards the digester is as new, for the next content. */
  digest(): Buffer {
    if (this.#rest.filled > 0) this.#flush(this.#rest, 0);
    const descriptor = Buffer.alloc(256);
    descriptor[0] = 1; // version
    descriptor[1] = this.#algorithm === "sha256" ? 1 : 2;
    descriptor[2] = 12; // log2 of the block size
    // Bytes 3 to 7: the salt's size, and reserved.
    descriptor.writeBigUInt64LE(BigInt(this.#size), 8);
    this.#root().copy(descriptor, 16);
    this.#height = 0;
    this.#size = 0;
    return hash(this.#algorithm, descriptor, "buffer");
  }

  /** The last level's only hash; of no content, zeros. */
  #root(): Buffer {
    for (let depth = 0; depth < this.#height; depth++) {
      const level = this.#level(depth);
      if (depth === this.#height - 1 && level.filled === this.#digestSize) {
        level.filled = 0;
        return level.bytes.subarray(0, this.#digestSize);
      }
      if (level.filled > 0) this.#flush(level, depth + 1);
    }
    return Buffer.alloc(this.#digestSize);
  }

  #flush(block: Block, depth: number): void {
    block.bytes.fill(0, block.filled);
    block.filled = 0;
    this.#push(depth, block.bytes);
  }

  #push(depth: number, block: Uint8Array): void {
    const level = this.#level(depth);
    // As a string: making a Buffer for each block takes longer than hashing it would need.
    level.bytes.write(hash(this.#algorithm, block, "latin1"), level.filled, "latin1");
    level.filled += this.#digestSize;
    this.#height = Math.max(this.#height, depth + 1);
    if (level.filled === blockSize) this.#flush(level, depth + 1);
  }

  #level(depth: number): Block {
    return (this.#levels[depth] ??= new Block());
  }
}

class Block {
  readonly bytes = Buffer.alloc(blockSize);
  filled = 0;

  /** Takes what it has room for; returns how much. */
  fill(bytes: Uint8Array): number {
    const taken = Math.min(blockSize - this.filled, bytes.length);
    this.bytes.set(taken === bytes.length ? bytes : bytes.subarray(0, taken), this.filled);
    this.filled += taken;
    return taken;
  }
}

const digesters = { sha256: new VerityDigester("sha256"), sha512: new VerityDigester("sha512") };

/** The fs-verity digest of content that is at hand as a whole. */
export function verityDigest(algorithm: VerityAlgorithm, content: Uint8Array): Buffer {
  return digesters[algorithm].update(content).digest();
}
