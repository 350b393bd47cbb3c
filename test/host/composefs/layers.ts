import { createHash } from "node:crypto";
import { type Digest, sha256Digest } from "#base/digest.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { LayerStreamWriter } from "#formats/splitstream-layer.ts";
import { TarHeaders } from "#formats/tar-headers.ts";
import type { Repository } from "#stores/composefs/repository.ts";
import { type Staging, stageObject } from "#stores/composefs/staging.ts";

/** A tar's bytes in their order: those of headers and padding, and those of files. */
export interface TarPiece {
  readonly kind: "tar" | "content";
  readonly bytes: Buffer;
}

export function piecesOfTar(tar: Buffer): TarPiece[] {
  const pieces: TarPiece[] = [];
  const headers = new TarHeaders();
  for (let position = 0; position < tar.length; ) {
    const end = headers.read(tar, position);
    pieces.push({ kind: "tar", bytes: tar.subarray(position, end) });
    const length = headers.take()?.contentLength ?? 0;
    if (length > 0) pieces.push({ kind: "content", bytes: tar.subarray(end, end + length) });
    position = end + length;
  }
  return pieces;
}

export function sha256(bytes: Buffer): Digest {
  return sha256Digest(createHash("sha256").update(bytes).digest("hex"));
}

/** Stages the objects and the stream of a layer. */
export async function stageLayer(
  repository: Repository,
  staging: Staging,
  tar: Buffer,
): Promise<{ diffId: Digest; stream: ObjectId }> {
  const writer = new LayerStreamWriter(repository.meta.algorithm);
  for (const { kind, bytes } of piecesOfTar(tar)) {
    if (kind === "tar") writer.tar(bytes);
    else if (bytes.length <= 64) writer.file(bytes.length, { kind: "inline", bytes });
    else writer.file(bytes.length, { kind: "object", id: stageObject(repository, staging, bytes) });
  }
  return { diffId: sha256(tar), stream: stageObject(repository, staging, await writer.finish()) };
}
