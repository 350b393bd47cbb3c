import { zstdDecompressSync } from "node:zlib";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import { type ObjectId, objectIdOf } from "./composefs-objects.ts";
import { verityDigestSize } from "./fs-verity.ts";

/**
 * A splitstream is a file whose larger parts lie outside it, as objects of a composefs repository; put together it is
 * the original again. It also names other streams. This is what is around its body: composefs-rs's format, version 0.
 */
export interface SplitstreamHead {
  readonly contentType: ContentType;
  /** Bytes of what it is put together. */
  readonly size: number;
  /** Names, and which objects they stand for. */
  readonly namedRefs: ReadonlyMap<string, ObjectId>;
  /** In the order of their first use. */
  readonly objectRefs: ObjectTable;
  /** Of all named refs, each once. */
  readonly streamRefs: ObjectTable;
  /** The zstd frame with the chunks: see splitstream-body.ts. */
  readonly body: Buffer;
}

/** A table of digests, left as the bytes that it is in the file: a large layer has a million of them. */
export class ObjectTable implements Iterable<ObjectId> {
  readonly #digests: Buffer;
  readonly #digestSize: number;
  readonly length: number;

  constructor(digests: Buffer, algorithm: VerityAlgorithm) {
    this.#digests = digests;
    this.#digestSize = verityDigestSize(algorithm);
    this.length = Math.floor(digests.length / this.#digestSize);
  }

  at(index: number): ObjectId | undefined {
    if (!(index < this.length)) return undefined;
    return objectIdOf(this.#digests.subarray(index * this.#digestSize, (index + 1) * this.#digestSize));
  }

  *[Symbol.iterator](): Iterator<ObjectId> {
    for (let i = 0; i < this.length; i++)
      yield objectIdOf(this.#digests.subarray(i * this.#digestSize, (i + 1) * this.#digestSize));
  }
}

/** What a stream holds, as eight bytes: those of the images' streams are text. */
export type ContentType = string & { readonly __brand: "ContentType" };

export const contentTypes = {
  manifest: "ocimanif" as ContentType,
  config: "ociconfg" as ContentType,
  layer: "ocilayer" as ContentType,
} as const;

export const headerSize = 32;
/** Of the block that the header points to; a newer writer's may be longer. */
export const infoSize = 80;
const magic = Buffer.from("SplitStream", "latin1");
const version = 0;
const blockBits = 12;

/** Bytes of a stream's file: enough for a layer of two million files. */
export const maxSplitstream = 256 << 20;
/** Bytes of all named refs: an image has a few hundred at most. */
const maxNamedRefs = 1 << 20;

interface Range {
  readonly start: number;
  readonly end: number;
}

/** The header of a stream's file, which comes first. */
export function serializeHeader(algorithm: VerityAlgorithm): Buffer {
  const header = Buffer.alloc(headerSize);
  magic.copy(header, 0);
  header[11] = version;
  // Bytes 12 and 13: flags, of which there are none.
  header[14] = algorithmNumber(algorithm);
  header[15] = blockBits;
  writeRange(header, 16, { start: headerSize, end: headerSize + infoSize });
  return header;
}

export function writeRange(target: Buffer, offset: number, { start, end }: Range): void {
  target.writeBigUInt64LE(BigInt(start), offset);
  target.writeBigUInt64LE(BigInt(end), offset + 8);
}

/**
 * Reads all of a stream's file but its body. Nothing in it is trusted, and memory is bounded by the file's size.
 * @throws OneholdError "corrupt", "unsupported" for another version or algorithm
 */
export function parseSplitstream(file: Buffer, algorithm: VerityAlgorithm): SplitstreamHead {
  if (file.length > maxSplitstream) throw corrupt(`has ${file.length} bytes, the limit is ${maxSplitstream}`);
  if (file.length < headerSize) throw corrupt("is too short for a header");
  const info = slice(file, infoRange(file, algorithm), "its info block");
  if (info.length < infoSize) throw corrupt(`has an info block of ${info.length} bytes`);
  const section = (offset: number, what: string) => slice(file, readRange(info, offset), what);
  const streamRefs = parseRefs(section(0, "the table of streams"), algorithm);
  const size = info.readBigUInt64LE(72);
  if (size > Number.MAX_SAFE_INTEGER) throw corrupt(`claims to be ${size} bytes when put together`);
  return {
    contentType: info.toString("latin1", 64, 72) as ContentType,
    size: Number(size),
    streamRefs,
    objectRefs: parseRefs(section(16, "the table of objects"), algorithm),
    body: section(32, "its body"),
    namedRefs: parseNamedRefs(section(48, "the table of names"), streamRefs),
  };
}

/** bootc up to 1.15 wrote the same fields in another order. */
const layouts = [
  { magic: 0, version: 11, algorithm: 14, blockBits: 15, range: 16 },
  { magic: 18, version: 29, algorithm: 30, blockBits: 31, range: 0 },
] as const;

function infoRange(file: Buffer, algorithm: VerityAlgorithm): Range {
  const layout = layouts.find((each) => magic.equals(file.subarray(each.magic, each.magic + magic.length)));
  if (layout === undefined) throw corrupt("has no SplitStream header");
  if (file[layout.version] !== version) throw unsupported(`is of version ${file[layout.version]}`);
  if (file[layout.algorithm] !== algorithmNumber(algorithm) || file[layout.blockBits] !== blockBits) {
    throw unsupported(
      `is made for the fs-verity algorithm ${file[layout.algorithm]} with blocks of 2^${file[layout.blockBits]} bytes, not for ${algorithm} with blocks of 2^12`,
    );
  }
  return readRange(file, layout.range);
}

function algorithmNumber(algorithm: VerityAlgorithm): number {
  return algorithm === "sha256" ? 1 : 2;
}

function readRange(from: Buffer, offset: number): Range {
  // What does not fit into a Number is beyond the end of any file.
  return { start: Number(from.readBigUInt64LE(offset)), end: Number(from.readBigUInt64LE(offset + 8)) };
}

function slice(file: Buffer, { start, end }: Range, what: string): Buffer {
  if (start > end || end > file.length) throw corrupt(`says that ${what} is at ${start} to ${end} of ${file.length}`);
  return file.subarray(start, end);
}

function parseRefs(table: Buffer, algorithm: VerityAlgorithm): ObjectTable {
  const size = verityDigestSize(algorithm);
  if (table.length % size !== 0) throw corrupt(`has a table of ${table.length} bytes, no multiple of ${size}`);
  return new ObjectTable(table, algorithm);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** For each name its place in the table of streams, a colon, the name and a NUL. */
function parseNamedRefs(frame: Buffer, streamRefs: ObjectTable): ReadonlyMap<string, ObjectId> {
  const refs = new Map<string, ObjectId>();
  const text = unpackNamedRefs(frame);
  if (text === "") return refs;
  if (!text.endsWith("\0")) throw corrupt("has a name that is cut off");
  for (const entry of text.slice(0, -1).split("\0")) {
    const [, index = "", name = ""] = /^(\d{1,9}):([^]*)$/.exec(entry) ?? [];
    const id = index === "" ? undefined : streamRefs.at(Number(index));
    if (id === undefined || refs.has(name)) throw corrupt(`has the named ref ${JSON.stringify(entry.slice(0, 200))}`);
    refs.set(name, id);
  }
  return refs;
}

function unpackNamedRefs(frame: Buffer): string {
  try {
    return utf8.decode(zstdDecompressSync(frame, { maxOutputLength: maxNamedRefs }));
  } catch (cause) {
    throw new OneholdError("corrupt", `a splitstream has names that can't be read: ${messageOf(cause)}`, { cause });
  }
}

export function corrupt(why: string): OneholdError {
  return new OneholdError("corrupt", `a splitstream ${why}`);
}

function unsupported(why: string): OneholdError {
  return new OneholdError("unsupported", `a splitstream ${why}`);
}
