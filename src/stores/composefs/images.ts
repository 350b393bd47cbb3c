import { type Digest, isDigest } from "#base/digest.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { contentTypes } from "#formats/splitstream.ts";
import { linkedObject, listLinks } from "./links.ts";
import type { Repository } from "./repository.ts";
import { listTags, manifestOfStreamName, manifestStreamName, readStream } from "./streams.ts";

/** An image that the repository has. */
export interface ComposefsImage {
  readonly manifestDigest: Digest;
  /** What keeps it; empty: the next sweep takes it. */
  readonly tags: readonly string[];
}

/** Every image with a manifest; none is opened. */
export function listComposefsImages(repository: Repository): ComposefsImage[] {
  const tags = new Map<string, string[]>();
  for (const [tag, stream] of listTags(repository)) tags.set(stream, [...(tags.get(stream) ?? []), tag]);
  return listLinks(repository, "streams").flatMap(({ name }) => {
    const manifestDigest = manifestOfStreamName(name);
    return manifestDigest === undefined ? [] : [{ manifestDigest, tags: tags.get(name) ?? [] }];
  });
}

/** The objects of an image. None for an image that is not there. */
export interface ObjectsOfImage {
  /** Contents of its files. */
  readonly files: ReadonlySet<ObjectId>;
  /** Streams, EROFS images, documents. */
  readonly others: ReadonlySet<ObjectId>;
}

/** @throws "corrupt", "unsupported" */
export function objectsOfImage(repository: Repository, manifestDigest: Digest): ObjectsOfImage {
  const files = new Set<ObjectId>();
  const others = new Set<ObjectId>();
  const manifest = linkedObject(repository, "streams", manifestStreamName(manifestDigest));
  const add = (stream: ObjectId): void => {
    if (others.has(stream)) return;
    others.add(stream);
    const { contentType, objectRefs, namedRefs } = readStream(repository, stream);
    const contents = contentType === contentTypes.layer ? files : others;
    for (const object of objectRefs) contents.add(object);
    for (const [name, id] of namedRefs) {
      // Layers are named by their diff IDs; an EROFS image is an object, not a stream.
      if (isDigest(name) || name.startsWith("config:")) add(id);
      else others.add(id);
    }
  };
  if (manifest !== undefined) add(manifest);
  return { files, others };
}
