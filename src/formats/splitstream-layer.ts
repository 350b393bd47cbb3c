import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { inlineLimit, type ObjectId } from "./composefs-objects.ts";
import { contentTypes, corrupt, type SplitstreamHead } from "./splitstream.ts";
import { partsOf } from "./splitstream-body.ts";
import { SplitstreamWriter } from "./splitstream-writer.ts";
import type { TarEntry } from "./tar.ts";
import { TarHeaders } from "./tar-headers.ts";
import type { TarMember } from "./tar-member.ts";
import { TarHeaderReader, type TarSplitRecord } from "./tar-split.ts";

/** What a file of a layer holds: up to 64 bytes as they are, more as an object. */
export type FileContent =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | { readonly kind: "object"; readonly id: ObjectId };

/** Makes the stream of a layer from its tar, whose files' contents are objects already. */
export class LayerStreamWriter {
  readonly #writer: SplitstreamWriter;

  constructor(algorithm: VerityAlgorithm) {
    this.#writer = new SplitstreamWriter(algorithm, contentTypes.layer);
  }

  /** Bytes of the tar that are no file's content: headers, padding, what follows the end. They must not change any more. */
  tar(bytes: Uint8Array): void {
    this.#writer.writeInline(bytes);
  }

  /** The content of a file; its padding is the tar's. */
  file(size: number, content: FileContent): void {
    if ((content.kind === "inline") !== size <= inlineLimit) {
      throw new Error(`a file of ${size} bytes can't be ${content.kind} in a layer's stream`);
    }
    if (content.kind === "object") this.#writer.writeExternal(content.id, size);
    else if (content.bytes.length === size) this.#writer.writeInline(content.bytes);
    else throw new Error(`a file of ${size} bytes was given ${content.bytes.length}`);
  }

  /** See `SplitstreamWriter.drained`. */
  drained(): Promise<void> {
    return this.#writer.drained();
  }

  /** The stream's file, to be stored as an object. Call it once, last. */
  finish(): Promise<Buffer> {
    return this.#writer.finish();
  }
}

/**
 * Makes the stream of a layer from its tar-split records. `contentOf` is asked for each file that has content.
 * @throws OneholdError "corrupt", "unsupported" for a sparse file: tar-split can't tell how its tar had it
 */
export async function makeLayerStream(
  algorithm: VerityAlgorithm,
  records: AsyncIterable<readonly TarSplitRecord[]>,
  contentOf: (entry: TarEntry) => FileContent,
): Promise<Buffer> {
  const writer = new LayerStreamWriter(algorithm);
  const headers = new TarHeaderReader();
  for await (const batch of records) {
    for (const record of batch) {
      const entry = headers.accept(record);
      if (record.type === "segment") writer.tar(record.bytes);
      else if (entry !== undefined && entry.size > 0) {
        if (entry.sparse) throw sparse(entry);
        writer.file(entry.size, contentOf(entry));
      }
    }
    await writer.drained();
  }
  headers.end();
  return writer.finish();
}

function sparse(entry: TarEntry): OneholdError {
  const name = displayBytes(entry.name);
  return new OneholdError(
    "unsupported",
    `the layer's file "${name}" is sparse in its tar, which no stream can reproduce`,
    {
      hint: "Build the image anew, without sparse files in its layers.",
    },
  );
}

/** A member of a layer's tar, and what it holds; `undefined` where it has no content. */
export interface LayerStreamEntry {
  readonly entry: TarEntry;
  readonly content: FileContent | undefined;
}

/**
 * The members of a layer, read from its stream: no object is opened.
 * @throws OneholdError "corrupt" where headers and contents do not agree, or the limit of 64 bytes is not kept
 */
export async function* layerStreamEntries(
  stream: SplitstreamHead,
): AsyncGenerator<readonly LayerStreamEntry[], void, undefined> {
  if (stream.contentType !== contentTypes.layer) {
    throw corrupt(`holds ${JSON.stringify(stream.contentType)}, not a layer's tar`);
  }
  const reader = new EntryReader();
  for await (const parts of partsOf(stream)) {
    const entries: LayerStreamEntry[] = [];
    for (const part of parts) {
      if (part.kind === "inline") reader.readInline(part.bytes, entries);
      else entries.push(reader.readObject(part.id));
    }
    if (entries.length > 0) yield entries;
  }
  reader.end();
}

class EntryReader {
  readonly #headers = new TarHeaders();
  /** Its headers are read, its content is next. */
  #member: TarMember | undefined;
  #content = Buffer.alloc(0);
  #filled = 0;

  readInline(bytes: Buffer, entries: LayerStreamEntry[]): void {
    for (let position = 0; position < bytes.length; ) {
      if (this.#member !== undefined) {
        const member = this.#member;
        if (member.contentLength > inlineLimit) throw misplaced(member, "its content is not an object");
        position += this.#fillContent(bytes, position);
        if (this.#filled < this.#content.length) return;
        this.#member = undefined;
        entries.push({ entry: member.entry, content: { kind: "inline", bytes: this.#content } });
      } else {
        position = this.#headers.read(bytes, position);
        const member = this.#headers.take();
        if (member === undefined) return;
        if (member.contentLength > 0) this.#expectContent(member);
        else if (!member.isGlobalHeader) entries.push({ entry: member.entry, content: undefined });
      }
    }
  }

  readObject(id: ObjectId): LayerStreamEntry {
    const member = this.#member;
    if (member === undefined) throw corrupt("has an object where the layer's tar has no file");
    if (member.contentLength <= inlineLimit) throw misplaced(member, "its content is an object");
    this.#member = undefined;
    return { entry: member.entry, content: { kind: "object", id } };
  }

  end(): void {
    if (this.#member !== undefined) throw misplaced(this.#member, "it has no content");
    this.#headers.end();
  }

  #expectContent(member: TarMember): void {
    this.#member = member;
    this.#content = Buffer.alloc(Math.min(member.contentLength, inlineLimit));
    this.#filled = 0;
  }

  #fillContent(bytes: Buffer, position: number): number {
    const taken = bytes.copy(this.#content, this.#filled, position, position + this.#content.length - this.#filled);
    this.#filled += taken;
    return taken;
  }
}

function misplaced({ entry, contentLength }: TarMember, why: string): OneholdError {
  return corrupt(`has the file "${displayBytes(entry.name)}" of ${contentLength} bytes, but ${why}`);
}
