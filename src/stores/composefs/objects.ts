import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { isObjectId, type ObjectId, objectIdOf, objectPathOf } from "#formats/composefs-objects.ts";
import { VerityDigester } from "#formats/fs-verity.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { measureVerity } from "#linux/verity.ts";
import { readBounded } from "./bounded-file.ts";
import type { Repository } from "./repository.ts";

export function objectFile(repository: Repository, id: ObjectId): string {
  return path.join(repository.path, "objects", objectPathOf(id));
}

export function hasObject(repository: Repository, id: ObjectId): boolean {
  return fs.existsSync(objectFile(repository, id));
}

/** An object, open for reading; `undefined` where there is none. */
export function openObject(repository: Repository, id: ObjectId): Descriptor | undefined {
  try {
    return openFile(objectFile(repository, id), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/**
 * An object of at most `most` bytes, its digest checked; `undefined` where there is none.
 * @throws "corrupt" for another digest, or a larger object
 */
export function readObject(repository: Repository, id: ObjectId, most: number): Buffer | undefined {
  using descriptor = openObject(repository, id);
  if (descriptor === undefined) return undefined;
  const bytes = readBounded(descriptor.fd, most, objectFile(repository, id));
  const digest = objectIdOf(new VerityDigester(repository.meta.algorithm).update(bytes).digest());
  if (digest !== id) throw damaged(repository, id, `has the digest ${digest}`);
  return bytes;
}

/** Every file in the folders of objects; `id` is undefined for a name that no object has. */
export function* listObjects(
  repository: Repository,
): Generator<{ readonly id: ObjectId | undefined; readonly file: string }, void, undefined> {
  const objects = path.join(repository.path, "objects");
  for (const prefix of namesIn(objects)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const rest of namesIn(path.join(objects, prefix))) {
      const id = prefix + rest;
      const known = isObjectId(id, repository.meta.algorithm);
      yield { id: known ? id : undefined, file: path.join(objects, prefix, rest) };
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}

const pieceSize = 1 << 20;
const buffer = Buffer.allocUnsafeSlow(pieceSize);

/** The content of an object, each piece valid until the next is asked for. Nothing is checked. */
export function* piecesOf(fd: number): Generator<Buffer, void, undefined> {
  for (let position = 0; ; ) {
    const count = fs.readSync(fd, buffer, 0, pieceSize, position);
    if (count === 0) return;
    position += count;
    yield buffer.subarray(0, count);
  }
}

/** What is wrong with an object, all of which is read; `undefined` where nothing is. */
export function problemOfObject(repository: Repository, id: ObjectId): string | undefined {
  using descriptor = openObject(repository, id);
  if (descriptor === undefined) return "is missing";
  if (!fs.fstatSync(descriptor.fd).isFile()) return "is not a regular file";
  const { algorithm } = repository.meta;
  if (repository.secure) {
    const measured = measureVerity(descriptor.fd);
    if (typeof measured !== "object") return "has no fs-verity, which this repository demands";
    if (measured.algorithm !== algorithm || objectIdOf(measured.digest) !== id) {
      return `has the fs-verity digest ${measured.digest.toString("hex")}`;
    }
  }
  const digester = new VerityDigester(algorithm);
  try {
    for (const piece of piecesOf(descriptor.fd)) digester.update(piece);
  } catch (error) {
    // What fs-verity, or a checksum of the file system, says of damaged data.
    if (isErrno(error, "EIO", "EUCLEAN", "EBADMSG")) return "can't be read: its data is damaged";
    throw error;
  }
  const digest = objectIdOf(digester.digest());
  return digest === id ? undefined : `has the digest ${digest}`;
}

export function damaged(repository: Repository, id: ObjectId, how: string): OneholdError {
  return new OneholdError("corrupt", `object ${id} of ${repository.path} ${how}`, {
    subject: repository.path,
    hint: "Run `onehold internals composefs fsck`.",
  });
}
