import { createReadStream, existsSync } from "node:fs";
import { createGunzip } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { TarEntry } from "#formats/tar.ts";
import { TarHeaderReader, TarSplitParser, type TarSplitRecord } from "#formats/tar-split.ts";
import type { LayerRecord } from "./layers.ts";

/** One member of the layer's tar: its parsed header, and the record that says what content followed it. */
export interface LayerTarEntry {
  readonly entry: TarEntry;
  readonly record: Extract<TarSplitRecord, { type: "file" }>;
}

const chunkSize = 256 * 1024;

/**
 * The layer's tar-split file, unpacked and parsed as it is read: a batch for each chunk, in the order of
 * the tar. Memory does not grow with the file.
 * @throws not-found for a layer that has none; corrupt
 */
export async function* tarSplitRecords(layer: LayerRecord): AsyncGenerator<TarSplitRecord[], void, undefined> {
  const path = layer.tarSplitPath;
  if (!existsSync(path)) {
    throw new OneholdError("not-found", `layer ${layer.id} has no tar-split file: it was not made from a tar`, {
      subject: path,
      hint: "Push the image to a registry and pull it from there.",
    });
  }
  const parser = new TarSplitParser();
  try {
    for await (const chunk of unpacked(path)) {
      const records = parser.push(chunk);
      if (records.length > 0) yield records;
    }
    parser.end();
  } catch (error) {
    throw corruptTarSplit(path, error);
  }
}

/** The members of the layer's tar, in its order, in batches. @throws as `tarSplitRecords` */
export async function* layerTarEntries(layer: LayerRecord): AsyncGenerator<LayerTarEntry[], void, undefined> {
  const headers = new TarHeaderReader();
  for await (const records of tarSplitRecords(layer)) {
    const batch: LayerTarEntry[] = [];
    for (const record of records) {
      const entry = headerOf(headers, record, layer.tarSplitPath);
      if (entry !== undefined && record.type === "file") batch.push({ entry, record });
    }
    if (batch.length > 0) yield batch;
  }
}

/** Feeds the reader; its entry for each file record. @throws corrupt, with the path of the file */
export function headerOf(headers: TarHeaderReader, record: TarSplitRecord, path: string): TarEntry | undefined {
  try {
    return headers.accept(record);
  } catch (error) {
    throw corruptTarSplit(path, error);
  }
}

async function* unpacked(path: string): AsyncGenerator<Buffer, void, undefined> {
  const gunzip = createGunzip({ chunkSize });
  // pipeline closes the file when the consumer stops early, and hands a read error on to the iteration.
  const piped = pipeline(createReadStream(path, { highWaterMark: chunkSize }), gunzip);
  piped.catch(() => {});
  for await (const chunk of gunzip) {
    if (Buffer.isBuffer(chunk)) yield chunk;
  }
  await piped;
}

function corruptTarSplit(path: string, error: unknown): unknown {
  // zlib's errors have a code like Z_DATA_ERROR; those of the parser have no path.
  const isZlib =
    error instanceof Error && "code" in error && typeof error.code === "string" && error.code.startsWith("Z_");
  if (!isZlib && !(error instanceof OneholdError && error.code === "corrupt" && error.subject === undefined))
    return error;
  return new OneholdError("corrupt", `the tar-split file ${path} is damaged: ${messageOf(error)}`, {
    subject: path,
    hint: "Remove the image and pull it again.",
    cause: error,
  });
}
