import { type ByteString, byteStringOfText, joinBytes } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { maxImage, objectsOfImage } from "./image-objects.ts";
import { isUnfinished, linkedObject, type Link, listLinks, listRefs, nameOfRef, objectOfTarget } from "./links.ts";
import { hasObject, readObject } from "./objects.ts";
import type { Repository } from "./repository.ts";
import { manifestPrefix, manifestStreamName, readStream, tagRef } from "./streams.ts";

export interface TagChange {
  /** Tags that are gone. */
  readonly without: readonly string[];
  /** Images that have one more. */
  readonly with: readonly Digest[];
}

export interface Reachable {
  readonly objects: ReadonlySet<ObjectId>;
  /** Refs at what belongs to an image that is not there any more, by their path below the repository's folder. */
  readonly danglingReferrers: readonly ByteString[];
}

/**
 * Everything that must stay, from the refs on. Targets that are missing are passed over, but a stream or image that
 * can't be read is an error: nobody knows what it still needs. `change`: as if it had been made.
 */
export function findReachable(repository: Repository, change: TagChange = { without: [], with: [] }): Reachable {
  const marker = new Marker(repository);
  const images = listRefs(repository, "images").filter((ref) => !isUnfinished(ref));
  for (const ref of images) marker.markImage(nameOfRef(ref));
  const gone = new Set(change.without.map((tag) => byteStringOfText(tagRef(tag))));
  const refs = listRefs(repository, "streams").filter((ref) => !isUnfinished(ref) && !gone.has(ref.name));
  const referrers = refs.filter((ref) => subjectOf(ref) !== undefined);
  for (const ref of refs) if (subjectOf(ref) === undefined) marker.markStream(nameOfRef(ref));
  for (const digest of change.with) marker.markStream(manifestStreamName(digest));
  const dangling = marker.markReferrers(referrers);
  const folder = byteStringOfText("streams/refs");
  return { objects: marker.objects, danglingReferrers: dangling.map(({ name }) => joinBytes(folder, name)) };
}

/** The stream of the image that a referrer belongs to; `undefined` for any other ref. */
function subjectOf({ name }: Link): string | undefined {
  const [, digest] = /^oci-referrers\/([^/]+)\/[^/]+$/.exec(name) ?? [];
  return digest === undefined ? undefined : `${manifestPrefix}${digest}`;
}

class Marker {
  readonly objects = new Set<ObjectId>();
  readonly #repository: Repository;
  readonly #visited = new Set<ObjectId>();
  /** Objects that are streams; others that a stream names are only kept. */
  readonly #streams: ReadonlySet<ObjectId>;

  constructor(repository: Repository) {
    this.#repository = repository;
    const targets = listLinks(repository, "streams").map(({ target }) => objectOfTarget(repository, target));
    this.#streams = new Set(targets.filter((id) => id !== undefined));
  }

  markImage(name: string): void {
    const id = linkedObject(this.#repository, "images", name);
    if (id === undefined || this.#visited.has(id)) return;
    this.#visited.add(id);
    this.objects.add(id);
    const image = readObject(this.#repository, id, maxImage);
    if (image === undefined) return;
    for (const object of objectsOfImage(image, this.#repository.meta.algorithm)) this.objects.add(object);
  }

  markStream(name: string): void {
    const start = linkedObject(this.#repository, "streams", name);
    const todo = start === undefined ? [] : [start];
    for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
      this.objects.add(id);
      if (this.#visited.has(id) || !hasObject(this.#repository, id)) continue;
      this.#visited.add(id);
      const stream = readStream(this.#repository, id);
      for (const object of stream.objectRefs) this.objects.add(object);
      for (const object of stream.namedRefs.values()) {
        this.objects.add(object);
        if (this.#streams.has(object)) todo.push(object);
      }
    }
  }

  /** Marks the artifacts of images that stay, and theirs in turn; returns the others. */
  markReferrers(referrers: readonly Link[]): Link[] {
    const stays = ({ subject }: { subject: string }) => {
      const id = linkedObject(this.#repository, "streams", subject);
      return id !== undefined && this.objects.has(id);
    };
    let waiting = referrers.flatMap((ref) => {
      const subject = subjectOf(ref);
      return subject === undefined ? [] : [{ ref, subject }];
    });
    for (let before = -1; before !== waiting.length; ) {
      before = waiting.length;
      for (const referrer of waiting) if (stays(referrer)) this.markStream(nameOfRef(referrer.ref));
      waiting = waiting.filter((referrer) => !stays(referrer));
    }
    return waiting.map(({ ref }) => ref);
  }
}
