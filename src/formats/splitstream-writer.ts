import { finished } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import type { ObjectId } from "./composefs-objects.ts";
import { type ContentType, headerSize, infoSize, serializeHeader, writeRange } from "./splitstream.ts";

/**
 * Makes a splitstream (see splitstream.ts) from the parts of the original, in their order. What was written is
 * compressed meanwhile, by another thread; memory holds the compressed stream, and the bytes since the last object.
 */
export class SplitstreamWriter {
  readonly #algorithm: VerityAlgorithm;
  readonly #contentType: ContentType;
  readonly #objects = new Map<ObjectId, bigint>();
  readonly #streams = new Map<ObjectId, number>();
  readonly #names = new Map<string, number>();
  readonly #body = new ZstdFrame();
  /** Bytes that no chunk holds yet: adjacent ones are one chunk. */
  #inline: Uint8Array[] = [];
  #inlineSize = 0;
  #size = 0;

  constructor(algorithm: VerityAlgorithm, contentType: ContentType) {
    this.#algorithm = algorithm;
    this.#contentType = contentType;
  }

  /** Names an object; no two have one name. */
  addNamedRef(name: string, id: ObjectId): void {
    if (name.includes("\0") || this.#names.has(name)) throw new Error(`not a new name: ${JSON.stringify(name)}`);
    let index = this.#streams.get(id);
    if (index === undefined) this.#streams.set(id, (index = this.#streams.size));
    this.#names.set(name, index);
  }

  /** Bytes that the stream itself shall hold. They must not change any more. */
  writeInline(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#inline.push(bytes);
    this.#inlineSize += bytes.length;
    this.#size += bytes.length;
  }

  /** The whole content of an object, of so many bytes. */
  writeExternal(id: ObjectId, size: number): void {
    this.#flushInline();
    let index = this.#objects.get(id);
    if (index === undefined) this.#objects.set(id, (index = BigInt(this.#objects.size)));
    this.#writeNumber(index);
    this.#size += size;
  }

  /** Resolves when nothing waits to be compressed: for who writes faster than that goes. */
  drained(): Promise<void> {
    return this.#body.drained();
  }

  /** The stream's file. Call it once, last. */
  async finish(): Promise<Buffer> {
    this.#flushInline();
    const sections = [
      Buffer.from([...this.#streams.keys()].join(""), "hex"),
      Buffer.from([...this.#objects.keys()].join(""), "hex"),
      await this.#namedRefs(),
      await this.#body.end(),
    ] as const;
    const info = Buffer.alloc(infoSize);
    let position = headerSize + infoSize;
    // The table of names comes before the body in the file, but after it in the info block.
    for (const [i, field] of [0, 16, 48, 32].entries()) {
      const end = position + (sections[i]?.length ?? 0);
      writeRange(info, field, { start: position, end });
      position = end;
    }
    info.write(this.#contentType, 64, "latin1");
    info.writeBigUInt64LE(BigInt(this.#size), 72);
    return Buffer.concat([serializeHeader(this.#algorithm), info, ...sections]);
  }

  async #namedRefs(): Promise<Buffer> {
    const frame = new ZstdFrame();
    const names = [...this.#names].map(([name, index]) => ({ bytes: Buffer.from(name), index }));
    for (const { bytes, index } of names.toSorted((a, b) => Buffer.compare(a.bytes, b.bytes))) {
      frame.write(Buffer.concat([Buffer.from(`${index}:`), bytes, Buffer.alloc(1)]));
    }
    return frame.end();
  }

  #flushInline(): void {
    if (this.#inlineSize === 0) return;
    this.#writeNumber(-BigInt(this.#inlineSize));
    for (const bytes of this.#inline) this.#body.write(bytes);
    this.#inline = [];
    this.#inlineSize = 0;
  }

  /** Of a chunk: an object's place in the table, or how many bytes follow, below zero. */
  #writeNumber(value: bigint): void {
    const number = Buffer.allocUnsafe(8);
    number.writeBigInt64LE(value);
    this.#body.write(number);
  }
}

const blockSize = 128 * 1024;

/**
 * A zstd frame of the default level that does not state its content's size, as composefs-rs writes them: their digests
 * are then the same, with the same release of the library.
 */
class ZstdFrame {
  readonly #zstd = createZstdCompress({ chunkSize: 64 * 1024 });
  readonly #output: Buffer[] = [];
  /** Small pieces are gathered: each write is a round trip to another thread. */
  #block = Buffer.allocUnsafeSlow(0);
  #filled = 0;
  #last: Promise<void> = Promise.resolve();

  constructor() {
    this.#zstd.on("data", (bytes: Buffer) => this.#output.push(bytes));
    // An error rejects the writes too, which is where it is looked for.
    this.#zstd.on("error", () => {});
  }

  write(bytes: Uint8Array): void {
    for (let position = 0; position < bytes.length; ) {
      if (this.#block.length === 0) this.#block = Buffer.allocUnsafeSlow(blockSize);
      const part = bytes.subarray(position, position + blockSize - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      position += part.length;
      if (this.#filled === blockSize) this.#flush();
    }
  }

  drained(): Promise<void> {
    return this.#last;
  }

  async end(): Promise<Buffer> {
    if (this.#filled > 0) this.#flush();
    // A frame ended by its only write would state its size.
    await this.#last;
    this.#zstd.end();
    await finished(this.#zstd);
    return Buffer.concat(this.#output);
  }

  #flush(): void {
    const block = this.#block.subarray(0, this.#filled);
    this.#block = Buffer.allocUnsafeSlow(0);
    this.#filled = 0;
    const written = new Promise<void>((resolve, reject) => {
      this.#zstd.write(block, (error) => (error instanceof Error ? reject(error) : resolve()));
    });
    // Kept for whoever waits next: nobody may be waiting when it happens.
    written.catch(() => {});
    this.#last = written;
  }
}
