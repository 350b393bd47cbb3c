import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

const pieceSize = 1 << 16;
/** A number takes no more. */
const longestNumber = 8;

/**
 * Writes values as bytes: numbers as LEB128 (safe integers from 0), texts with their length before them. `take` is given
 * each piece that is full, valid until it returns.
 */
export class ByteWriter {
  readonly #buffer = Buffer.allocUnsafe(pieceSize);
  readonly #take: (piece: Buffer) => void;
  #length = 0;

  constructor(take: (piece: Buffer) => void) {
    this.#take = take;
  }

  number(value: number): void {
    this.#reserve(longestNumber);
    let rest = value;
    while (rest > 0x7f) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  double(value: number): void {
    this.#reserve(8);
    this.#length = this.#buffer.writeDoubleLE(value, this.#length);
  }

  text(value: ByteString): void {
    this.number(value.length);
    if (value.length > pieceSize) this.raw(Buffer.from(value, "latin1"));
    else {
      this.#reserve(value.length);
      this.#length += this.#buffer.write(value, this.#length, "latin1");
    }
  }

  hex(digits: string): void {
    this.#reserve(digits.length / 2);
    this.#length += this.#buffer.write(digits, this.#length, "hex");
  }

  raw(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      this.#reserve(1);
      const part = bytes.subarray(done, done + pieceSize - this.#length);
      this.#buffer.set(part, this.#length);
      this.#length += part.length;
      done += part.length;
    }
  }

  /** Gives out what is left. */
  flush(): void {
    if (this.#length > 0) this.#take(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes > pieceSize) this.flush();
  }
}

/** Reads what a ByteWriter wrote. Every method throws OneholdError "corrupt" where the bytes can't be that. */
export class ByteReader {
  readonly #bytes: Buffer;
  #position: number;

  constructor(bytes: Buffer, position: number) {
    this.#bytes = bytes;
    this.#position = position;
  }

  number(): number {
    let value = 0;
    for (let unit = 1; unit <= 2 ** 49; unit *= 0x80) {
      const byte = this.demand(this.#bytes[this.#position++]);
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
    }
    throw damaged();
  }

  /** How many things follow, each of a byte at least. */
  count(): number {
    const count = this.number();
    if (count > this.#bytes.length - this.#position) throw damaged();
    return count;
  }

  double(): number {
    return this.raw(8).readDoubleLE(0);
  }

  text(): ByteString {
    const start = this.#advance(this.number());
    return this.#bytes.toString("latin1", start, this.#position) as ByteString;
  }

  /** So many bytes, as hex digits. */
  hex(length: number): string {
    const start = this.#advance(length);
    return this.#bytes.toString("hex", start, this.#position);
  }

  /** A view. */
  raw(length: number): Buffer {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, this.#position);
  }

  demand<T>(value: T | undefined): T {
    if (value === undefined) throw damaged();
    return value;
  }

  demandEnd(): void {
    if (this.#position !== this.#bytes.length) throw damaged();
  }

  #advance(length: number): number {
    const start = this.#position;
    if (length > this.#bytes.length - start) throw damaged();
    this.#position += length;
    return start;
  }
}

function damaged(): OneholdError {
  return new OneholdError("corrupt", "the layer index is damaged");
}
