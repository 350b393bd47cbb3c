import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type ObjectId, objectIdOf, objectPathOf } from "#formats/composefs-objects.ts";
import { VerityDigester } from "#formats/fs-verity.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { tryFlock } from "#linux/locks.ts";
import { renameNoReplace } from "#linux/rename.ts";
import { syncfs } from "#linux/sync.ts";
import { isPresent, sealStaged, type ObjectTarget } from "./store-object.ts";
import { refuseReadOnlyRepository, type Repository } from "./repository.ts";

/**
 * New objects wait here under their final names until all of them, their data included, are on disk; then they
 * are renamed into objects/. So a name in objects/ never stands for content that a power cut can take away, which
 * writing them in place (as composefs-rs does) can't promise. composefs-rs leaves the folder alone.
 */
export interface Staging extends Disposable {
  readonly path: string;
}

const namePrefix = ".onehold-";
/** The folders of objects/: the first two digits of a digest. */
const prefixes = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/** Who makes one holds the repository's lock. @throws "unsupported" for a repository that we may only read */
export function makeStaging(repository: Repository): Staging {
  refuseReadOnlyRepository(repository);
  return makeStagingIn(repository.path);
}

/** The same for a mere folder of objects, which belongs to no repository. */
export function makeStagingIn(folder: string): Staging {
  const directory = path.join(folder, namePrefix + randomBytes(6).toString("hex"));
  fs.mkdirSync(directory, { mode: 0o700 });
  const descriptor = openDirectory(directory);
  if (!tryFlock(descriptor.fd, "exclusive")) throw new Error(`${directory} is locked by somebody else`);
  for (const name of prefixes) fs.mkdirSync(path.join(directory, name), { mode: 0o755 });
  return {
    path: directory,
    [Symbol.dispose]() {
      fs.rmSync(directory, { recursive: true, force: true });
      descriptor[Symbol.dispose]();
    },
  };
}

/** Removes what killed imports left; a folder that a living one holds stays. Returns how many went. */
export function clearStaging(repository: Pick<Repository, "path">): number {
  let cleared = 0;
  for (const name of fs.readdirSync(repository.path)) {
    if (!name.startsWith(namePrefix)) continue;
    const directory = path.join(repository.path, name);
    using descriptor = openDirectory(directory);
    if (!tryFlock(descriptor.fd, "exclusive")) continue;
    fs.rmSync(directory, { recursive: true, force: true });
    cleared++;
  }
  return cleared;
}

/** Where workers put objects (see store-object.ts): plain values. */
export function targetOf(repository: Repository, staging: Pick<Staging, "path">): ObjectTarget {
  return {
    objects: path.join(repository.path, "objects"),
    staging: staging.path,
    algorithm: repository.meta.algorithm,
    secure: repository.secure,
  };
}

/** Stages an object that is made of bytes: a stream, a document, an image. */
export function stageObject(
  repository: Repository,
  staging: Pick<Staging, "path">,
  content: Buffer | Iterable<Buffer>,
): ObjectId {
  const target = targetOf(repository, staging);
  const digester = new VerityDigester(repository.meta.algorithm);
  const file = path.join(staging.path, `new-${randomBytes(6).toString("hex")}`);
  const size = writeNew(file, Buffer.isBuffer(content) ? [content] : content, digester);
  const id = objectIdOf(digester.digest());
  if (isPresent(target, id, size)) fs.unlinkSync(file);
  else if (renameNoReplace(file, path.join(staging.path, objectPathOf(id))) === "exists") fs.unlinkSync(file);
  else if (repository.secure) sealStaged(target, id);
  return id;
}

/**
 * Moves every staged object to its place. On return names and data are on disk: the caller may write links to them.
 * One sync of the file system does for all what an fsync for each would.
 */
export function publishStaged(repository: Repository, staging: Staging): { published: number } {
  return publishInto(path.join(repository.path, "objects"), staging);
}

/** The same for a mere folder of objects. */
export function publishInto(objects: string, staging: Staging): { published: number } {
  using directory = openDirectory(staging.path);
  syncfs(directory.fd);
  fs.mkdirSync(objects, { recursive: true, mode: 0o755 });
  let published = 0;
  for (const prefix of prefixes)
    published += publishPrefix(path.join(staging.path, prefix), path.join(objects, prefix));
  if (published > 0) syncfs(directory.fd);
  return { published };
}

function publishPrefix(from: string, to: string): number {
  const names = fs.readdirSync(from);
  if (names.length === 0) return 0;
  // In a new repository whole folders move: thousands of files at the price of one.
  if (!fs.existsSync(to) && renameNoReplace(from, to) === "renamed") {
    fs.mkdirSync(from, { mode: 0o755 });
    return names.length;
  }
  let published = 0;
  for (const name of names) {
    if (renameNoReplace(`${from}/${name}`, `${to}/${name}`) === "renamed") published++;
    // Another writer was quicker: equal names are equal content.
    else fs.unlinkSync(`${from}/${name}`);
  }
  return published;
}

function writeNew(file: string, chunks: Iterable<Buffer>, digester: VerityDigester): number {
  const fd = fs.openSync(file, "wx", 0o600);
  let size = 0;
  try {
    for (const chunk of chunks) {
      digester.update(chunk);
      for (let done = 0; done < chunk.length; ) done += fs.writeSync(fd, chunk, done);
      size += chunk.length;
    }
    fs.fchmodSync(fd, 0o644);
    return size;
  } catch (error) {
    fs.unlinkSync(file);
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}
