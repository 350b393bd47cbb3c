import { readSync } from "node:fs";
import { createHash } from "node:crypto";
import type { ByteString } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import { Crc64 } from "#formats/crc64.ts";
import type { TarEntry } from "#formats/tar.ts";
import { TarHeaderReader } from "#formats/tar-split.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { type LayerContents, openLayerContents } from "./layer-contents.ts";
import { structureProblem } from "./layer-structure.ts";
import { hasTarSplit, layerForm, type LayerRecord } from "./layers.ts";
import { headerOf, type LayerTarEntry, tarSplitRecords } from "./tar-split-file.ts";

export type LayerVerification =
  | { readonly outcome: "verified" }
  /** Nothing is known to be wrong, but there is nothing to prove it by either. */
  | { readonly outcome: "not-verifiable"; readonly why: string }
  /** `path`: the member of the tar, where it is known which. */
  | { readonly outcome: "damaged"; readonly why: string; readonly path?: ByteString };

export interface VerifyOptions {
  readonly signal?: AbortSignal;
  /** Called with the number of bytes of content that have been read since the last call. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Whether a layer's files still are what was pulled: its tar, put together again from tar-split and diff,
 * must have the diff ID as digest and the recorded size, and what has no content must be there.
 *
 * Most of the time goes into reading and SHA-256. The CRCs of tar-split are computed in a second pass, only
 * where the digest does not match: to find the file that differs.
 * @param chain the layers of an image, base first, with this one among them
 * @throws interrupted, and system where the store cannot be read at all
 */
export async function verifyLayer(
  layer: LayerRecord,
  chain: readonly LayerRecord[],
  options: VerifyOptions = {},
): Promise<LayerVerification> {
  if (layerForm(layer) === "composefs") return { outcome: "not-verifiable", why: "it is stored as a composefs image" };
  if (!hasTarSplit(layer)) return { outcome: "not-verifiable", why: "it has no tar-split file" };
  try {
    using contents = openLayerContents(layer, chain);
    return await verifyContents(layer, contents, options);
  } catch (error) {
    if (error instanceof Damage) return error.verification;
    if (error instanceof OneholdError && error.code === "corrupt") return { outcome: "damaged", why: error.message };
    if (isErrno(error, "ENOENT", "ENOTDIR"))
      return { outcome: "damaged", why: `its files are gone (${messageOf(error)})` };
    if (options.signal?.aborted === true) throw interrupted(layer, options.signal);
    throw error;
  }
}

function interrupted(layer: LayerRecord, signal: AbortSignal): OneholdError {
  return new OneholdError("interrupted", `interrupted while layer ${layer.id} was checked`, { cause: signal.reason });
}

async function verifyContents(
  layer: LayerRecord,
  contents: LayerContents,
  options: VerifyOptions,
): Promise<LayerVerification> {
  const { diffDigest } = layer;
  if (diffDigest === undefined) {
    await checkEachFile(layer, contents, options);
    return {
      outcome: "not-verifiable",
      why: "podman has recorded no diff ID for it; each file has the right checksum",
    };
  }
  const tar = await reassemble(layer, contents, diffDigest, options);
  const sizeIsRight = layer.diffSize === undefined || layer.diffSize === tar.size;
  if (tar.digest === diffDigest && sizeIsRight) return { outcome: "verified" };
  await checkEachFile(layer, contents, options);
  if (tar.hasSparse) {
    return {
      outcome: "not-verifiable",
      why: "it has files that are sparse in its tar, which tar-split cannot reproduce; each file has the right checksum",
    };
  }
  const found =
    tar.digest === diffDigest
      ? `${tar.size} bytes and not ${layer.diffSize}`
      : `the digest ${tar.digest} and not ${diffDigest}`;
  return { outcome: "damaged", why: `its tar has ${found}, though each file has the right checksum` };
}

/** Thrown in the middle of a pass; never leaves this file. */
class Damage extends Error {
  readonly verification: LayerVerification;

  constructor(why: string, path: ByteString) {
    super(why);
    this.verification = { outcome: "damaged", why, path };
  }
}

interface Reassembled {
  readonly digest: string;
  readonly size: number;
  /** It has a PAX sparse file: podman records its expanded size, which no tar can be made from. */
  readonly hasSparse: boolean;
}

async function reassemble(
  layer: LayerRecord,
  contents: LayerContents,
  like: Digest,
  options: VerifyOptions,
): Promise<Reassembled> {
  const algorithm = like.slice(0, like.indexOf(":"));
  const digest = createHash(algorithm);
  let size = 0;
  let hasSparse = false;
  const take = (bytes: Buffer): void => {
    digest.update(bytes);
    size += bytes.length;
  };
  await walk(layer, options, {
    segment: take,
    member(entry) {
      hasSparse ||= entry.sparse;
      if (entry.size > 0) readContent(contents, entry, take, options);
      else checkStructure(contents, entry);
    },
  });
  return { digest: `${algorithm}:${digest.digest("hex")}`, size, hasSparse };
}

/** @throws Damage for the first file whose CRC differs */
async function checkEachFile(layer: LayerRecord, contents: LayerContents, options: VerifyOptions): Promise<void> {
  await walk(layer, options, {
    segment() {},
    member(entry, { crc64 }) {
      if (entry.size === 0) return checkStructure(contents, entry);
      const crc = new Crc64();
      readContent(contents, entry, (bytes) => crc.update(bytes), options);
      if (crc64 !== undefined && !crc.digest().equals(crc64)) throw new Damage("its content has changed", entry.name);
    },
  });
}

interface Visitor {
  segment(bytes: Buffer): void;
  member(entry: TarEntry, record: LayerTarEntry["record"]): void;
}

async function walk(layer: LayerRecord, options: VerifyOptions, visitor: Visitor): Promise<void> {
  const headers = new TarHeaderReader();
  for await (const records of tarSplitRecords(layer)) {
    options.signal?.throwIfAborted();
    for (const record of records) {
      const entry = headerOf(headers, record, layer.tarSplitPath);
      if (record.type === "segment") visitor.segment(record.bytes);
      else if (entry !== undefined) visitor.member(entry, record);
    }
  }
}

function checkStructure(contents: LayerContents, entry: TarEntry): void {
  const problem = structureProblem(contents, entry);
  if (problem !== undefined) throw new Damage(problem, entry.name);
}

const buffer = Buffer.allocUnsafeSlow(1024 * 1024);

function readContent(
  contents: LayerContents,
  entry: TarEntry,
  take: (bytes: Buffer) => void,
  options: VerifyOptions,
): void {
  using file = contents.openFile(entry.name);
  if (file === undefined) throw new Damage("the file is missing", entry.name);
  if (file.stats.size !== entry.size)
    throw new Damage(`it has ${file.stats.size} bytes and not ${entry.size}`, entry.name);
  for (let left = entry.size; left > 0; ) {
    const read = readChunk(file.fd, left, entry.name);
    if (read === 0) throw new Damage("it became shorter while it was read", entry.name);
    take(buffer.subarray(0, read));
    left -= read;
  }
  options.onBytes?.(entry.size);
}

function readChunk(fd: number, atMost: number, name: ByteString): number {
  try {
    return withSystemErrors(() => readSync(fd, buffer, 0, Math.min(buffer.length, atMost), null));
  } catch (error) {
    if (isErrno(error, "EIO", "EUCLEAN")) throw new Damage(messageOf(error), name);
    throw error;
  }
}
