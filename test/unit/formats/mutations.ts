/** Random damage to input, the same for the same seed. */
export class Mutator {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 to below `limit` (mulberry32). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(values: readonly [T, ...T[]]): T {
    return values[this.below(values.length)] ?? values[0];
  }

  /** A copy with one to four changes: bits, bytes, numbers, parts cut out, doubled, moved or cut off. */
  mutate(original: Buffer): Buffer {
    let bytes: Buffer = Buffer.from(original);
    for (let changes = 1 + this.below(4); changes > 0; changes--) bytes = this.#change(bytes);
    return bytes;
  }

  #change(bytes: Buffer): Buffer {
    const at = this.below(bytes.length + 1);
    const length = 1 + this.below(this.pick([1, 8, 64, bytes.length + 1]));
    switch (this.below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << this.below(8));
        return bytes;
      case 1:
        if (at < bytes.length) bytes[at] = this.pick([0, 1, 0x7f, 0x80, 0xff, 0x22, 0x2d, this.below(256)]);
        return bytes;
      case 2: {
        const value = this.pick([0n, 1n, -1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, BigInt(bytes.length)]);
        const number = Buffer.alloc(8);
        number.writeBigUInt64LE(BigInt.asUintN(64, value + BigInt(this.below(3) - 1)));
        number.copy(bytes, at - (at % this.pick([1, 8])), 0, this.pick([2, 4, 8]));
        return bytes;
      }
      case 3:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
      case 4:
        return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
      case 5:
        bytes.copy(bytes, this.below(bytes.length + 1), at, at + length);
        return bytes;
      default:
        return this.below(4) === 0 ? bytes.subarray(0, at) : bytes;
    }
  }
}

/** Of the environment, to run a failure again; else a new one. Tests print it. */
export function newSeed(): number {
  return Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
}
