import { createZstdDecompress } from "node:zlib";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { ObjectId } from "./composefs-objects.ts";
import { corrupt, type SplitstreamHead } from "./splitstream.ts";

/** A part of the original, in its order: bytes (any number of them at a time), or the whole content of an object. */
export type SplitstreamPart =
  | { readonly kind: "inline"; readonly bytes: Buffer }
  | { readonly kind: "external"; readonly id: ObjectId };

/**
 * Bytes of an unpacked body: the headers of four million files. A body of a few bytes can unpack to any size, and
 * the size that its stream claims is no better.
 */
const maxBody = 2 ** 31;
const pieceSize = 64 * 1024;

/**
 * The parts of a stream, unpacked as they are taken: memory does not grow with the body.
 * @throws OneholdError "corrupt"
 */
export async function* partsOf(stream: SplitstreamHead): AsyncGenerator<readonly SplitstreamPart[], void, undefined> {
  const reader = new ChunkReader(stream);
  for await (const piece of unpacked(stream.body)) {
    const parts = reader.read(piece);
    if (parts.length > 0) yield parts;
  }
  reader.end();
}

async function* unpacked(frame: Buffer): AsyncGenerator<Buffer, void, undefined> {
  const zstd = createZstdDecompress({ chunkSize: pieceSize });
  zstd.end(frame);
  let total = 0;
  try {
    for await (const piece of zstd) {
      if (!Buffer.isBuffer(piece)) continue;
      total += piece.length;
      if (total > maxBody) throw corrupt(`has a body that unpacks to more than ${maxBody} bytes`);
      yield piece;
    }
  } catch (cause) {
    if (cause instanceof OneholdError || !isZstdError(cause)) throw cause;
    throw new OneholdError("corrupt", `a splitstream's body can't be unpacked: ${messageOf(cause)}`, { cause });
  }
}

function isZstdError(error: unknown): boolean {
  return error instanceof Error && "code" in error && /^(?:ZSTD_|Z_)/.test(String(error.code));
}

/** Cuts the unpacked body, which arrives in pieces, into parts. */
class ChunkReader {
  readonly #stream: SplitstreamHead;
  readonly #number = Buffer.alloc(8);
  #numberFilled = 0;
  /** Bytes of the chunk that are still to come. */
  #inlineLeft = 0;
  /** Bytes that the parts have at the least. */
  #size = 0;

  constructor(stream: SplitstreamHead) {
    this.#stream = stream;
  }

  read(piece: Buffer): SplitstreamPart[] {
    const parts: SplitstreamPart[] = [];
    for (let position = 0; position < piece.length; ) {
      if (this.#inlineLeft > 0) {
        const bytes = piece.subarray(position, position + this.#inlineLeft);
        this.#inlineLeft -= bytes.length;
        position += bytes.length;
        parts.push({ kind: "inline", bytes });
      } else {
        position += this.#fillNumber(piece, position);
        if (this.#numberFilled < 8) break;
        this.#numberFilled = 0;
        const id = this.#startChunk(this.#number.readBigInt64LE());
        if (id !== undefined) parts.push({ kind: "external", id });
      }
    }
    return parts;
  }

  end(): void {
    if (this.#numberFilled > 0 || this.#inlineLeft > 0) throw corrupt("ends in the middle of a chunk");
  }

  #fillNumber(piece: Buffer, position: number): number {
    const taken = piece.copy(this.#number, this.#numberFilled, position, position + 8 - this.#numberFilled);
    this.#numberFilled += taken;
    return taken;
  }

  #startChunk(number: bigint): ObjectId | undefined {
    // Of an object it is only known that it is not empty: nothing refers to one that is.
    const size = number < 0n ? -number : 1n;
    if (size > this.#stream.size - this.#size)
      throw corrupt(`has more in it than the ${this.#stream.size} bytes it claims`);
    this.#size += Number(size);
    if (number < 0n) {
      this.#inlineLeft = Number(size);
      return undefined;
    }
    const id = this.#stream.objectRefs.at(Number(number));
    if (id === undefined) throw corrupt(`refers to object ${number} of ${this.#stream.objectRefs.length}`);
    return id;
  }
}
