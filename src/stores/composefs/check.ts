import fs from "node:fs";
import { byteStringOfText, displayBytes, joinBytes } from "#base/bytes.ts";
import { type Digest, isDigest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { maxImage, objectsOfImage } from "./image-objects.ts";
import { leadsSomewhere, type Link, listLinks, listRefs, objectOfTarget } from "./links.ts";
import { lockRepository, type RepositoryLockOptions } from "./lock.ts";
import { hasObject, listObjects, problemOfObject, readObject } from "./objects.ts";
import { readImage } from "./oci-images.ts";
import type { Repository } from "./repository.ts";
import { digestOfStream } from "./stream-content.ts";
import { manifestOfStreamName, readStream } from "./streams.ts";

/** What is wrong, with which file of the repository. */
export interface RepositoryProblem {
  /** Below the repository's folder. */
  readonly subject: string;
  readonly why: string;
}

export interface CheckOptions extends RepositoryLockOptions {
  /** Called with the size of each object that has been read. */
  readonly onBytes?: (bytes: number) => void;
}

export interface RepositoryCheck {
  readonly objects: number;
  readonly bytes: number;
  readonly streams: number;
  readonly images: number;
  readonly problems: readonly RepositoryProblem[];
}

/**
 * Whether everything in a repository is what its name says and has what it refers to: objects by their digests, layers
 * by their diff IDs, documents by theirs. All of it is read.
 */
export async function checkRepository(repository: Repository, options: CheckOptions = {}): Promise<RepositoryCheck> {
  using _ = await lockRepository(repository, "shared", options);
  const check = new Check(repository, options);
  const { objects, bytes } = await check.objects();
  const streams = listLinks(repository, "streams");
  const images = listLinks(repository, "images");
  for (const link of streams) await check.stream(link);
  for (const link of images) await check.image(link);
  for (const folder of ["streams", "images"] as const) check.refs(folder);
  return { objects, bytes, streams: streams.length, images: images.length, problems: check.problems };
}

class Check {
  readonly problems: RepositoryProblem[] = [];
  readonly #repository: Repository;
  readonly #options: CheckOptions;

  constructor(repository: Repository, options: CheckOptions) {
    this.#repository = repository;
    this.#options = options;
  }

  async objects(): Promise<{ objects: number; bytes: number }> {
    let [objects, bytes] = [0, 0];
    for (const { id, file } of listObjects(this.#repository)) {
      this.#options.signal?.throwIfAborted();
      const subject = file.slice(this.#repository.path.length + 1);
      if (id === undefined) {
        this.#report(subject, "is not named as an object: composefs-rs refuses to sweep such a repository");
        continue;
      }
      const why = problemOfObject(this.#repository, id);
      if (why !== undefined) this.#report(subject, why);
      objects++;
      const { size } = fs.lstatSync(file);
      bytes += size;
      this.#options.onBytes?.(size);
      // So that a signal can be seen.
      if (objects % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return { objects, bytes };
  }

  stream(link: Link): Promise<void> {
    return this.#guard("streams", link, async (id, name) => {
      const stream = readStream(this.#repository, id);
      this.#demandObjects(stream.objectRefs);
      this.#demandObjects(stream.namedRefs.values());
      const digest = contentOfName(name);
      if (digest === undefined) return;
      const found = await digestOfStream(this.#repository, stream, digest.slice(0, digest.indexOf(":")));
      if (found !== digest) throw new OneholdError("corrupt", `gives bytes with the digest ${found}`);
      if (manifestOfStreamName(name) !== undefined) await readImage(this.#repository, digest);
    });
  }

  image(link: Link): Promise<void> {
    return this.#guard("images", link, (id, name) => {
      if (name !== id) throw new OneholdError("corrupt", `leads to another image: ${id}`);
      const image = readObject(this.#repository, id, maxImage);
      if (image === undefined) throw new OneholdError("corrupt", "leads to an object that is missing");
      this.#demandObjects(objectsOfImage(image, this.#repository.meta.algorithm));
    });
  }

  refs(folder: "streams" | "images"): void {
    for (const { name } of listRefs(this.#repository, folder)) {
      const file = joinBytes(byteStringOfText(`${folder}/refs`), name);
      if (!leadsSomewhere(this.#repository, file)) this.#report(displayBytes(file), "leads nowhere");
    }
  }

  async #guard(
    folder: "streams" | "images",
    { name, target }: Link,
    check: (id: ObjectId, name: string) => void | Promise<void>,
  ): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const subject = `${folder}/${displayBytes(name)}`;
    const id = objectOfTarget(this.#repository, target);
    if (id === undefined) return this.#report(subject, `leads to ${displayBytes(target)}, which is no object's place`);
    try {
      await check(id, Buffer.from(name, "latin1").toString());
    } catch (error) {
      if (!(error instanceof OneholdError) || error.code === "interrupted") throw error;
      this.#report(subject, messageOf(error));
    }
  }

  #demandObjects(ids: Iterable<ObjectId>): void {
    for (const id of ids) {
      if (!hasObject(this.#repository, id))
        throw new OneholdError("corrupt", `refers to the object ${id}, which is missing`);
    }
  }

  #report(subject: string, why: string): void {
    this.problems.push({ subject, why });
  }
}

/** The digest of what a stream gives, where its name tells: of documents, and of layers' tars. */
function contentOfName(name: string): Digest | undefined {
  const digest = /^oci-(?:manifest|config|layer|blob)-(.*)$/.exec(name)?.[1] ?? "";
  return isDigest(digest) ? digest : undefined;
}
