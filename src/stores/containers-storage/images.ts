import { type Digest, isDigest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import { parseConfig, parseManifest } from "#formats/oci.ts";
import { readImageData } from "./image-data.ts";
import { isStorageId } from "./layout.ts";
import type { StoredImage } from "./records.ts";

/** An image whose manifest and config are there. */
export interface ImageRecord {
  readonly id: string;
  /** Of the manifest for this platform. */
  readonly digest: Digest;
  /** `digest`, and that of the manifest list through which the image was pulled, if any. */
  readonly digests: readonly Digest[];
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
  const digest = manifestDigest(stored);
  if (digest === undefined || !stored["big-data-names"].includes("manifest"))
    return incomplete("it has no manifest yet");
  const owner = { root, id: stored.id };
  let configDigest: Digest;
  let diffIds: readonly Digest[];
  try {
    configDigest = parseManifest(readImageData(owner, "manifest", digest)).config.digest;
    if (!stored["big-data-names"].includes(configDigest)) return incomplete("it has no config yet");
    diffIds = parseConfig(readImageData(owner, configDigest, configDigest)).diffIds;
  } catch (error) {
    if (error instanceof OneholdError && error.code !== "system") return incomplete(messageOf(error));
    throw error;
  }
  const image: ImageRecord = {
    id: stored.id,
    digest,
    digests: [
      ...new Set([digest, ...(stored.digest === undefined ? [] : [stored.digest]), ...manifestDigests(stored)]),
    ],
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
  return readImageData(image, "manifest", image.digest);
}

/** The config's bytes, verified. @throws not-found, corrupt */
export function readConfig(image: ImageRecord): Buffer {
  return readImageData(image, image.configDigest, image.configDigest);
}

/**
 * Of the data named "manifest". The record's own digest is that of the manifest list, where the image was
 * pulled through one.
 */
function manifestDigest(stored: StoredImage): Digest | undefined {
  const digest = stored["big-data-digests"]?.["manifest"];
  return digest !== undefined && isDigest(digest) ? digest : stored.digest;
}

function manifestDigests(stored: StoredImage): Digest[] {
  const prefix = "manifest-";
  return stored["big-data-names"]
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length))
    .filter(isDigest);
}
