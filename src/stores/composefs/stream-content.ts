import { createHash } from "node:crypto";
import { OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import type { SplitstreamHead } from "#formats/splitstream.ts";
import { partsOf } from "#formats/splitstream-body.ts";
import { damaged, openObject, piecesOf } from "./objects.ts";
import type { Repository } from "./repository.ts";

/**
 * What a stream stands for, put together from its own bytes and its objects: of a layer, its tar. Each piece is valid
 * until the next is asked for. The objects' digests are not checked: the diff ID of the whole tells more.
 * @throws "corrupt" where an object is missing, or the whole is not of the size that the stream claims
 */
export async function* contentOfStream(
  repository: Repository,
  stream: SplitstreamHead,
): AsyncGenerator<Buffer, void, undefined> {
  let left = stream.size;
  const take = (bytes: Buffer): Buffer => {
    left -= bytes.length;
    if (left < 0) throw wrongSize(repository, stream);
    return bytes;
  };
  for await (const parts of partsOf(stream)) {
    for (const part of parts) {
      if (part.kind === "inline") yield take(part.bytes);
      else for (const piece of piecesOfObject(repository, part.id)) yield take(piece);
    }
  }
  if (left > 0) throw wrongSize(repository, stream);
}

function* piecesOfObject(repository: Repository, id: ObjectId): Generator<Buffer, void, undefined> {
  using object = openObject(repository, id);
  if (object === undefined) throw damaged(repository, id, "is missing");
  yield* piecesOf(object.fd);
}

/** All of a small stream: a manifest, a config. @throws "corrupt", also where it is larger than `most` bytes */
export async function smallContent(repository: Repository, stream: SplitstreamHead, most: number): Promise<Buffer> {
  if (stream.size > most) throw new OneholdError("corrupt", `a stream has ${stream.size} bytes, the limit is ${most}`);
  const pieces: Buffer[] = [];
  for await (const piece of contentOfStream(repository, stream)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** The digest of what a stream stands for; of a layer, its diff ID. `algorithm` is that of the digest to compare with. */
export async function digestOfStream(
  repository: Repository,
  stream: SplitstreamHead,
  algorithm: string,
): Promise<string> {
  const hash = createHash(algorithm);
  for await (const piece of contentOfStream(repository, stream)) hash.update(piece);
  return `${algorithm}:${hash.digest("hex")}`;
}

function wrongSize(repository: Repository, stream: SplitstreamHead): OneholdError {
  return new OneholdError(
    "corrupt",
    `a stream in ${repository.path} is not ${stream.size} bytes when it is put together, as it claims`,
    { subject: repository.path, hint: "Run `onehold internals composefs fsck`." },
  );
}
