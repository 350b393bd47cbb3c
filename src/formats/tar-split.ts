import { type ByteString, byteString, byteStringOfText, displayBytes } from "#base/bytes.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { TarEntry } from "./tar.ts";
import { TarHeaders } from "./tar-headers.ts";

/**
 * A tar-split file: a layer's tar with the contents of its files taken out, as lines of JSON. It gives the tar
 * back byte for byte: `segment` bytes as they are, for a `file` its content, in the order of the lines.
 */
export type TarSplitRecord =
  /** Headers, padding, extended headers, the end of the tar and what follows it. */
  | { readonly type: "segment"; readonly bytes: Buffer }
  /**
   * A member of the tar, its headers in the segments before. `size` is what they state: above zero for a file
   * with content, but for a hardlink too if its header says so.
   */
  | { readonly type: "file"; readonly name: ByteString; readonly size: number; readonly crc64: Buffer | undefined };

/**
 * Bytes of one line. Writers put the headers of one member into a segment (a few extended headers of 1 MiB at
 * most), and 1 MiB of what follows the tar; base64 adds a third.
 */
const maxLine = 16 << 20;

const newline = 0x0a;

/** How Go writes the lines of segments, which hold nearly all bytes of the file: no need to take those for JSON. */
const segmentStart = '{"type":2,"payload":"';
const segmentEnd = /^","position":\d{1,16}\}$/;
const quote = 0x22;

/** A line of JSON as it may be, before it is known that it is. */
interface Line {
  readonly type?: unknown;
  readonly name?: unknown;
  readonly name_raw?: unknown;
  readonly size?: unknown;
  readonly payload?: unknown;
}

/** Parses the lines of a tar-split file (uncompressed), which arrive in chunks of any size. */
export class TarSplitParser {
  #pieces: Buffer[] = [];
  #pending = 0;
  #line = 1;

  /** The records of all lines that `chunk` completes. @throws OneholdError "corrupt" */
  push(chunk: Buffer): TarSplitRecord[] {
    const records: TarSplitRecord[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      this.#demandRoom(end - start);
      records.push(this.#parse(this.#join(chunk.subarray(start, end))));
      this.#line++;
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#demandRoom(chunk.length - start);
      this.#pending += chunk.length - start;
      this.#pieces.push(Buffer.from(chunk.subarray(start))); // the caller may fill its chunk anew
    }
    return records;
  }

  /** Says that no more chunks come. @throws OneholdError "corrupt" where the last line is cut off */
  end(): void {
    if (this.#pending > 0) throw this.#corrupt("is cut off");
  }

  #join(rest: Buffer): Buffer {
    if (this.#pending === 0) return rest;
    const line = Buffer.concat([...this.#pieces, rest]);
    this.#pieces = [];
    this.#pending = 0;
    return line;
  }

  #demandRoom(length: number): void {
    if (this.#pending + length > maxLine) throw this.#corrupt(`is longer than ${maxLine} bytes`);
  }

  #parse(bytes: Buffer): TarSplitRecord {
    const segment = payloadOfSegment(bytes);
    if (segment !== undefined) return { type: "segment", bytes: this.#decode(segment) };
    const line = this.#parseJson(bytes);
    const payload = this.#text(line.payload, "payload");
    if (line.type === 2) return { type: "segment", bytes: this.#decode(payload) };
    if (line.type !== 1) throw this.#corrupt("is not a tar-split entry: its type is neither 1 nor 2");
    const size = this.#sizeOf(line.size);
    return { type: "file", name: this.#nameOf(line), size, crc64: size === 0 ? undefined : this.#checksumOf(payload) };
  }

  #parseJson(bytes: Buffer): Line {
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8"));
    } catch (cause) {
      throw this.#corrupt(`is not JSON: ${messageOf(cause)}`);
    }
    if (typeof value === "object" && value !== null) return value;
    throw this.#corrupt("is not a tar-split entry: it is no object");
  }

  #text(value: unknown, key: string): string {
    if (value === undefined || value === null) return "";
    if (typeof value === "string") return value;
    throw this.#corrupt(`is not a tar-split entry: its ${key} is no text`);
  }

  #sizeOf(value: unknown): number {
    if (value === undefined) return 0;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.#corrupt("is not a tar-split entry: its size is no number of bytes");
  }

  #nameOf(line: Line): ByteString {
    const raw = this.#text(line.name_raw, "name_raw");
    return raw === "" ? byteStringOfText(this.#text(line.name, "name")) : byteString(this.#decode(raw));
  }

  #checksumOf(payload: string): Buffer {
    const checksum = this.#decode(payload);
    if (checksum.length !== 8) throw this.#corrupt(`has a checksum of ${checksum.length} bytes`);
    return checksum;
  }

  /** Buffer passes over what is not base64, so that a shorter result tells of it. */
  #decode(base64: string): Buffer {
    const bytes = Buffer.from(base64, "base64");
    if (base64.length % 4 !== 0 || bytes.length !== Buffer.byteLength(base64, "base64")) {
      throw this.#corrupt("has a value that is not base64");
    }
    return bytes;
  }

  #corrupt(why: string): OneholdError {
    return new OneholdError("corrupt", `line ${this.#line} of a tar-split file ${why}`);
  }
}

function payloadOfSegment(bytes: Buffer): string | undefined {
  if (bytes.toString("latin1", 0, segmentStart.length) !== segmentStart) return undefined;
  const end = bytes.indexOf(quote, segmentStart.length);
  if (end < 0 || !segmentEnd.test(bytes.toString("latin1", end, end + 64))) return undefined;
  return bytes.toString("latin1", segmentStart.length, end);
}

/**
 * Reads the members' headers out of the segments of a tar-split file: feed it all records in order. It
 * demands that headers and records agree, so that no file gets the metadata of another.
 */
export class TarHeaderReader {
  readonly #headers = new TarHeaders();

  /**
   * The member that a `file` record stands for; undefined for a segment, and for the record of a PAX global
   * header, which is no member.
   * @throws OneholdError "corrupt", "unsupported" (see TarHeaders)
   */
  accept(record: TarSplitRecord): TarEntry | undefined {
    if (record.type === "segment") {
      const position = this.#headers.read(record.bytes, 0);
      if (position === record.bytes.length) return undefined;
      const name = this.#headers.take()?.entry.name ?? ("" as ByteString);
      throw new OneholdError("corrupt", `a tar-split file has no entry for the tar header of "${displayBytes(name)}"`);
    }
    const what = () => `the entry "${displayBytes(record.name)}" of a tar-split file`;
    const member = this.#headers.take();
    if (member === undefined) throw new OneholdError("corrupt", `${what()} has no tar header`);
    const { entry, statedSize } = member;
    if (entry.name !== record.name || statedSize !== record.size) {
      const header = `"${displayBytes(entry.name)}" of ${statedSize} bytes`;
      throw new OneholdError("corrupt", `${what()}, ${record.size} bytes, has the tar header of ${header}`);
    }
    return member.isGlobalHeader ? undefined : entry;
  }

  /** Says that no more records come. @throws OneholdError "corrupt" where the tar ends in the middle of a header */
  end(): void {
    this.#headers.end();
  }
}
