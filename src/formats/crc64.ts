/**
 * CRC-64/ISO as Go's hash/crc64 computes it (`crc64.ISO`): reflected polynomial 0xD800000000000000, all bits
 * inverted before and after. tar-split keeps one for each file's content. It finds accidents, not attacks.
 *
 * The polynomial has so few bits, x^64 + x^4 + x^3 + x + 1, that no tables are needed: 32 bits of input leave
 * the register as themselves, shifted by 0, 1, 3 and 4. Each word is too short for these to wrap around again.
 */
export class Crc64 {
  #high = -1;
  #low = -1;

  update(bytes: Uint8Array): this {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const wordsEnd = bytes.length & ~3;
    let high = this.#high;
    let low = this.#low;
    let position = 0;
    for (; position < wordsEnd; position += 4) {
      const word = low ^ view.getInt32(position, true);
      low = high ^ (word << 31) ^ (word << 29) ^ (word << 28);
      high = word ^ (word >>> 1) ^ (word >>> 3) ^ (word >>> 4);
    }
    for (; position < bytes.length; position++) {
      const byte = (low ^ view.getUint8(position)) & 0xff;
      low = (low >>> 8) | (high << 24);
      high = (high >>> 8) ^ (byte << 24) ^ (byte << 23) ^ (byte << 21) ^ (byte << 20);
    }
    this.#high = high;
    this.#low = low;
    return this;
  }

  /** Eight bytes, big-endian, as tar-split stores them. `update` may go on afterwards. */
  digest(): Buffer {
    const result = Buffer.alloc(8);
    result.writeInt32BE(~this.#high, 0);
    result.writeInt32BE(~this.#low, 4);
    return result;
  }
}

/** Of bytes that are all there; see `Crc64`. */
export function crc64(bytes: Uint8Array): Buffer {
  return new Crc64().update(bytes).digest();
}
