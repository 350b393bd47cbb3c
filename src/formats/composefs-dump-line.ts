import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

const space = 0x20;
const backslash = 0x5c;
const dash = 0x2d;
const minus = 0x2d;
const dot = 0x2e;
const zero = 0x30;

/** The fields of one line of a dump file, one after the other, without a copy of what is not kept. */
export class DumpLine {
  readonly #bytes: Buffer;
  readonly #number: number;
  readonly #end: number;
  /** Where the next field begins; behind `#end` when there is none. */
  #position: number;
  #escaped = false;

  /** @param number of the line, for messages */
  constructor(bytes: Buffer, start: number, end: number, number: number) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
    this.#number = number;
  }

  get hasMore(): boolean {
    return this.#position <= this.#end;
  }

  /** The next field, unescaped. @throws OneholdError "corrupt" where there is none, or its escapes are wrong */
  text(what: string): ByteString {
    const start = this.#position;
    const end = this.#take(what);
    const raw = this.#bytes.toString("latin1", start, end) as ByteString;
    return this.#escaped ? this.unescape(raw) : raw;
  }

  /** Like `text`, of a field that may say with a `-` that there is nothing. */
  optionalText(what: string): ByteString | undefined {
    const start = this.#position;
    if (this.#bytes[start] === dash && (start + 1 === this.#end || this.#bytes[start + 1] === space)) {
      this.#position = start + 2;
      return undefined;
    }
    return this.text(what);
  }

  /** The next field as it stands there. */
  raw(what: string): ByteString {
    const start = this.#position;
    return this.#bytes.toString("latin1", start, this.#take(what)) as ByteString;
  }

  skip(what: string): void {
    this.#take(what);
  }

  /** Decimal digits up to a number of `most`. */
  integer(what: string, most: number): number {
    const start = this.#position;
    const end = this.#take(what);
    const value = this.#digits(start, end, 10);
    return value <= most ? value : this.#wrongNumber(what, start, end);
  }

  /** The mode in octal digits, and whether an `@` before it says that this is a hardlink. */
  mode(): { readonly mode: number; readonly isHardlink: boolean } {
    const start = this.#position;
    const isHardlink = this.#bytes[start] === 0x40;
    const end = this.#take("mode");
    const mode = this.#digits(isHardlink ? start + 1 : start, end, 8);
    return { mode: mode <= 0o177777 ? mode : this.#wrongNumber("mode", start, end), isHardlink };
  }

  /** Two integers with a dot between them: seconds, and nanoseconds (not a fraction: 1.5 is a second and 5 ns). */
  timestamp(mayBeNegative: boolean): { readonly seconds: number; readonly nanoseconds: number } {
    const start = this.#position;
    const end = this.#take("time");
    const middle = this.#bytes.indexOf(dot, start);
    if (middle < 0 || middle >= end) throw this.corrupt("has a time without a dot");
    const isNegative = mayBeNegative && this.#bytes[start] === minus;
    const seconds = this.#digits(isNegative ? start + 1 : start, middle, 10);
    const nanoseconds = this.#digits(middle + 1, end, 10);
    if (!(seconds <= Number.MAX_SAFE_INTEGER) || !(nanoseconds < 1e9)) return this.#wrongNumber("time", start, end);
    return { seconds: isNegative && seconds !== 0 ? -seconds : seconds, nanoseconds };
  }

  /** Undoes `\\`, `\n`, `\r`, `\t` and `\xHH`. */
  unescape(raw: ByteString): ByteString {
    if (!raw.includes("\\")) return raw;
    // The pattern finds a lone backslash too, to complain of it.
    return raw.replace(/\\(?:x([0-9a-fA-F]{2})|[\\nrt]|)/g, (found: string, hex: string | undefined) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      const plain = plainEscapes.get(found);
      if (plain === undefined) throw this.corrupt("has a backslash that begins no escape");
      return plain;
    }) as ByteString;
  }

  corrupt(why: string): OneholdError {
    return new OneholdError("corrupt", `line ${this.#number} of a dump file ${why}`);
  }

  /** Passes over the next field; returns its end. */
  #take(what: string): number {
    const bytes = this.#bytes;
    const end = this.#end;
    let position = this.#position;
    if (position > end) throw this.corrupt(`ends before its ${what}`);
    let escaped = false;
    for (; position < end; position++) {
      const byte = bytes[position];
      if (byte === space) break;
      if (byte === backslash) escaped = true;
    }
    this.#escaped = escaped;
    this.#position = position + 1;
    return position;
  }

  /** NaN where it is not a number. */
  #digits(start: number, end: number, base: 8 | 10): number {
    if (start >= end) return Number.NaN;
    let value = 0;
    for (let position = start; position < end; position++) {
      const digit = (this.#bytes[position] ?? 0) - zero;
      if (digit < 0 || digit >= base) return Number.NaN;
      value = value * base + digit;
    }
    return value;
  }

  #wrongNumber(what: string, start: number, end: number): never {
    const text = JSON.stringify(this.#bytes.toString("latin1", start, Math.min(end, start + 40)));
    throw this.corrupt(`has the ${what} ${text}, which is no number in the range of one`);
  }
}

const plainEscapes: ReadonlyMap<string, string> = new Map([
  ["\\\\", "\\"],
  ["\\n", "\n"],
  ["\\r", "\r"],
  ["\\t", "\t"],
]);
