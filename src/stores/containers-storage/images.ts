import { type Digest, isDigest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import { isIndex, parseConfig, parseManifest } from "#formats/oci.ts";
import { type ImageDataOwner, readImageData } from "./image-data.ts";
import { isStorageId } from "./layout.ts";
import type { StoredImage } from "./records.ts";

/** An image whose manifest and config are there. */
export interface ImageRecord {
  readonly id: string;
  /** Of the manifest for this platform. */
  readonly digest: Digest;
  /** `digest`, and that of the manifest list through which the image was pulled, if any. */
  readonly digests: readonly Digest[];
  /** Under which the manifest is kept. */
  readonly manifestKey: string;
  readonly configDigest: Digest;
  /** The layers' diff IDs as the config has them, base first. */
  readonly diffIds: readonly Digest[];
  /** Fully qualified, with a tag. The image stays when its last name goes. */
  readonly names: readonly string[];
  /** Undefined for an image without layers. */
  readonly topLayer: string | undefined;
  /** As stored: RFC 3339. */
  readonly created: string;
  /** The graph root that it is in. */
  readonly root: string;
  /** True where it was found in an additional store. */
  readonly readOnly: boolean;
}

/** A record that podman has not completed, or whose data is gone or damaged. It still keeps its layers. */
export interface IncompleteImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly why: string;
}

export type ImageState =
  | { readonly state: "complete"; readonly image: ImageRecord }
  | { readonly state: "incomplete"; readonly image: IncompleteImage };

/**
 * Podman writes an image's record first and adds manifest, config and name one by one, so that a record
 * alone proves nothing: the image counts when its data is there and has the right digests.
 */
export function imageState(stored: StoredImage, root: string, readOnly: boolean): ImageState {
  const incomplete = (why: string): ImageState => ({
    state: "incomplete",
    image: { id: stored.id, names: stored.names, why },
  });
  if (!isStorageId(stored.id)) return incomplete("its id is not one of podman's");
  const latest = latestManifest(stored);
  if (latest === undefined || !stored["big-data-names"].includes(latest.key))
    return incomplete("it has no manifest yet");
  const owner = { root, id: stored.id };
  let chosen: Manifest;
  let diffIds: readonly Digest[];
  try {
    const manifest = parseManifest(readImageData(owner, latest.key, latest.digest));
    const configDigest = manifest.config.digest;
    if (!stored["big-data-names"].includes(configDigest)) return incomplete("it has no config yet");
    diffIds = parseConfig(readImageData(owner, configDigest, configDigest)).diffIds;
    chosen = { ...latest, configDigest };
    if (isMadeByStore(manifest.layers, diffIds)) chosen = originalManifest(stored, owner, configDigest) ?? chosen;
  } catch (error) {
    if (error instanceof OneholdError && error.code !== "system") return incomplete(messageOf(error));
    throw error;
  }
  const { digest, key, configDigest } = chosen;
  const image: ImageRecord = {
    id: stored.id,
    digest,
    digests: [
      ...new Set([digest, ...(stored.digest === undefined ? [] : [stored.digest]), ...manifestDigests(stored)]),
    ],
    manifestKey: key,
    configDigest,
    diffIds,
    names: stored.names,
    topLayer: stored.layer === "" ? undefined : stored.layer,
    created: stored.created ?? "",
    root,
    readOnly,
  };
  return { state: "complete", image };
}

/** The manifest's bytes, verified. @throws not-found, corrupt */
export function readManifest(image: ImageRecord): Buffer {
  return readImageData(image, image.manifestKey, image.digest);
}

/** The config's bytes, verified. @throws not-found, corrupt */
export function readConfig(image: ImageRecord): Buffer {
  return readImageData(image, image.configDigest, image.configDigest);
}

interface StoredManifest {
  readonly key: string;
  readonly digest: Digest;
}

type Manifest = StoredManifest & { readonly configDigest: Digest };

/**
 * The data named "manifest", which podman replaces with each pull. The record's own digest is that of the manifest
 * list, where the image was pulled through one.
 */
function latestManifest(stored: StoredImage): StoredManifest | undefined {
  const named = stored["big-data-digests"]?.["manifest"];
  const digest = named !== undefined && isDigest(named) ? named : stored.digest;
  return digest === undefined ? undefined : { key: "manifest", digest };
}

/** From another store layers come unpacked, with a manifest that names them so: by their diff IDs. */
function isMadeByStore(layers: readonly { digest: Digest }[], diffIds: readonly Digest[]): boolean {
  return layers.length === diffIds.length && layers.every(({ digest }, i) => digest === diffIds[i]);
}

/** The manifest that the image had in the other store: it comes along under the digest that the record has. */
function originalManifest(stored: StoredImage, owner: ImageDataOwner, configDigest: Digest): Manifest | undefined {
  const { digest } = stored;
  if (digest === undefined) return undefined;
  const key = manifestPrefix + digest;
  if (!stored["big-data-names"].includes(key)) return undefined;
  const bytes = readImageData(owner, key, digest);
  if (isIndex(bytes) || parseManifest(bytes).config.digest !== configDigest) return undefined;
  return { key, digest, configDigest };
}

const manifestPrefix = "manifest-";

function manifestDigests(stored: StoredImage): Digest[] {
  return stored["big-data-names"]
    .filter((key) => key.startsWith(manifestPrefix))
    .map((key) => key.slice(manifestPrefix.length))
    .filter(isDigest);
}
