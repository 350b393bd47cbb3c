import { createHash } from "node:crypto";
import { type Digest, hexOf, sha256Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { parseConfig, parseManifest } from "#formats/oci.ts";
import { type ContentType, contentTypes, type SplitstreamHead } from "#formats/splitstream.ts";
import { SplitstreamWriter } from "#formats/splitstream-writer.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { linkedObject, linkObject, writeRef } from "./links.ts";
import type { Repository } from "./repository.ts";
import { publishStaged, stageObject, type Staging } from "./staging.ts";
import { smallContent } from "./stream-content.ts";
import { configStreamName, layerStreamName, manifestStreamName, readStream, tagRef } from "./streams.ts";

/** An image's layers and EROFS images, all of them staged or in the repository. */
export interface ImageToPublish {
  /** As received. */
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** Base first. */
  readonly layers: readonly LayerOfImage[];
  readonly erofs: readonly ErofsOfImage[];
  readonly tags: readonly string[];
}

export interface LayerOfImage {
  readonly diffId: Digest;
  readonly stream: ObjectId;
}

/** The image's merged tree as EROFS. `boot`: as the host boots it. */
export interface ErofsOfImage {
  readonly id: ObjectId;
  readonly format: ImageFormat;
  readonly boot: boolean;
}

/**
 * Makes an image known to the repository: the streams of its config and manifest are made, everything in the staging
 * folder is published, then the names of the streams and EROFS images, last the tags. Each step is on the disk before
 * the next begins. Returns the manifest's digest.
 */
export async function publishImage(
  repository: Repository,
  staging: Staging,
  image: ImageToPublish,
): Promise<{ manifestDigest: Digest; published: number }> {
  const manifestDigest = digestOf(image.manifest);
  const configDigest = digestOf(image.config);
  const refs = image.tags.map(tagRef);
  const layers = [...new Map(image.layers.map(({ diffId, stream }) => [diffId as string, stream]))];
  const erofs = erofsRefs.flatMap((key) => {
    const found = image.erofs.find((each) => erofsName(each) === key);
    return found === undefined ? [] : ([[key, found.id]] as const);
  });
  const stage = async (type: ContentType, document: Buffer, named: readonly (readonly [string, ObjectId])[]) =>
    stageObject(repository, staging, await documentStream(repository, staging, type, document, named));
  const config = await stage(contentTypes.config, image.config, [...layers, ...erofs]);
  const manifest = await stage(contentTypes.manifest, image.manifest, [[`config:${configDigest}`, config], ...layers]);
  const { published } = publishStaged(repository, staging);
  for (const { diffId, stream } of image.layers) linkObject(repository, "streams", layerStreamName(diffId), stream);
  for (const { id } of image.erofs) linkObject(repository, "images", id, id);
  linkObject(repository, "streams", configStreamName(configDigest), config);
  linkObject(repository, "streams", manifestStreamName(manifestDigest), manifest);
  using directory = openDirectory(repository.path);
  syncfs(directory.fd);
  for (const ref of refs) writeRef(repository, "streams", ref, manifestStreamName(manifestDigest));
  return { manifestDigest, published };
}

/** Publishes what is staged, and layers of it, of an image that gets no further (its tree can't be made, say). */
export function publishLayers(repository: Repository, staging: Staging, layers: readonly LayerOfImage[]): void {
  publishStaged(repository, staging);
  for (const { diffId, stream } of layers) linkObject(repository, "streams", layerStreamName(diffId), stream);
}

/** In the order in which composefs-rs adds them to a config's stream. */
const erofsRefs = ["composefs.image", "composefs.image.v1", "composefs.image.boot", "composefs.image.boot.v1"];

/** The name that an image of the tree has in the config's stream. */
export function erofsName({ format, boot }: Pick<ErofsOfImage, "format" | "boot">): string {
  return `composefs.image${boot ? ".boot" : ""}${format === 2 ? "" : ".v1"}`;
}

/** The document is an object of its own, however small: so it can have a signature of its own. */
function documentStream(
  repository: Repository,
  staging: Staging,
  type: ContentType,
  document: Buffer,
  named: readonly (readonly [string, ObjectId])[],
): Promise<Buffer> {
  const writer = new SplitstreamWriter(repository.meta.algorithm, type);
  for (const [name, id] of named) writer.addNamedRef(name, id);
  writer.writeExternal(stageObject(repository, staging, document), document.length);
  return writer.finish();
}

function digestOf(document: Buffer): Digest {
  return sha256Digest(createHash("sha256").update(document).digest("hex"));
}

/** An image as the repository holds it. */
export interface StoredImage {
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly layers: readonly LayerOfImage[];
  /** By the names in the config's stream: `composefs.image.boot.v1` and the like. */
  readonly erofs: ReadonlyMap<string, ObjectId>;
}

/** Bytes; podman takes no larger manifest or config. */
const maxDocument = 4 << 20;

const configTypes = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/**
 * Reads an image's documents, and what belongs to it; both documents are checked against their digests. `undefined`
 * for an image that is not there, and for an artifact that is none (a signature, say).
 * @throws "corrupt"
 */
export async function readImage(repository: Repository, manifestDigest: Digest): Promise<StoredImage | undefined> {
  const id = linkedObject(repository, "streams", manifestStreamName(manifestDigest));
  if (id === undefined) return undefined;
  const manifestStream = readStream(repository, id);
  const manifest = await readDocument(repository, manifestStream, manifestDigest);
  const { digest: configDigest, mediaType } = parseManifest(manifest).config;
  if (!configTypes.includes(mediaType)) return undefined;
  const configStream = readStream(repository, namedRef(manifestStream, `config:${configDigest}`));
  const config = await readDocument(repository, configStream, configDigest);
  const layers = parseConfig(config).diffIds.map((diffId) => ({ diffId, stream: namedRef(configStream, diffId) }));
  for (const { diffId } of layers) namedRef(manifestStream, diffId);
  const erofs = new Map([...configStream.namedRefs].filter(([name]) => name.startsWith("composefs.image")));
  return { manifestDigest, configDigest, manifest, config, layers, erofs };
}

async function readDocument(repository: Repository, stream: SplitstreamHead, expected: Digest): Promise<Buffer> {
  const document = await smallContent(repository, stream, maxDocument);
  const algorithm = expected.slice(0, expected.indexOf(":"));
  if (createHash(algorithm).update(document).digest("hex") === hexOf(expected)) return document;
  throw new OneholdError("corrupt", `a stream in ${repository.path} does not hold ${expected}, as its name says`, {
    subject: repository.path,
    hint: "Remove the image and pull it again.",
  });
}

function namedRef(stream: SplitstreamHead, name: string): ObjectId {
  const id = stream.namedRefs.get(name);
  if (id !== undefined) return id;
  throw new OneholdError("corrupt", `a stream of the type ${stream.contentType} does not name ${name}`, {
    hint: "Remove the image and pull it again.",
  });
}
