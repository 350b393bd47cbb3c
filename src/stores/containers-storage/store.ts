import { readdirSync } from "node:fs";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError } from "#linux/system-error.ts";
import { type ContentsCache, readContents, type StoreContents } from "./contents.ts";
import type { ImageRecord, IncompleteImage } from "./images.ts";
import type { LayerRecord } from "./layers.ts";

/**
 * A graph root of containers/storage with the overlay driver, as podman 4.3 to 5.8 write it. Reading takes
 * no lock, never waits and writes nothing, so it works on read-only media.
 */
export interface ImageStore {
  readonly root: string;
  /** Where images and layers are looked for after this one, read only. */
  readonly additional: readonly ImageStore[];
  readonly readOnly: boolean;
  readonly cache: ContentsCache;
}

export interface OpenOptions {
  /** Graph roots of podman's additional image stores, in its order. */
  readonly additional?: readonly string[];
}

/** An empty folder is an empty store. @throws not-found; unsupported for a store of another driver */
export function openImageStore(root: string, options: OpenOptions = {}): ImageStore {
  refuseOtherDrivers(root);
  return { root, readOnly: false, cache: {}, additional: (options.additional ?? []).map(openAdditionalStore) };
}

/** What the store itself holds, without its additional stores. */
export function contentsOf(store: ImageStore): StoreContents {
  return readContents(store.root, store.readOnly, store.cache);
}

/** Complete images: those that can be read, mounted and imported. Its own first, then those of additional stores. */
export function listImages(store: ImageStore): ImageRecord[] {
  return listImagesWithLayers(store).map(({ image }) => image);
}

/** The same, each with its layers, base first, as both stood together: podman may remove either at any time. */
export function listImagesWithLayers(store: ImageStore): { image: ImageRecord; layers: LayerRecord[] }[] {
  const contents = withAdditional(store).map(contentsOf);
  return contents
    .flatMap((each) => each.images)
    .flatMap((state) => {
      if (state.state !== "complete") return [];
      const chain = chainState(contents, state.image);
      return chain.state === "complete" ? [{ image: state.image, layers: chain.layers }] : [];
    });
}

/** Records of this store that a reader must not use: half pulled, or damaged. */
export function listIncompleteImages(store: ImageStore): IncompleteImage[] {
  const contents = withAdditional(store).map(contentsOf);
  return (contents[0]?.images ?? []).flatMap((state) => {
    if (state.state === "incomplete") return [state.image];
    const chain = chainState(contents, state.image);
    return chain.state === "complete" ? [] : [{ id: state.image.id, names: state.image.names, why: chain.why }];
  });
}

/** Finished layers of this store that have content of an image: those of containers have no digest. */
export function listLayers(store: ImageStore): LayerRecord[] {
  return [...contentsOf(store).layers.values()].filter(
    (layer) => !layer.incomplete && (layer.diffDigest ?? layer.tocDigest) !== undefined,
  );
}

export type ImageQuery = { readonly digest: Digest } | { readonly name: string } | { readonly id: string };

/** By manifest digest (of the instance or of its list), by exact name, or by id. Its own store goes first. */
export function findImage(store: ImageStore, by: ImageQuery): ImageRecord | undefined {
  return listImages(store).find((image) => {
    if ("digest" in by) return image.digests.includes(by.digest);
    return "name" in by ? image.names.includes(by.name) : image.id === by.id;
  });
}

/** In this store, or else in an additional one. */
export function findLayer(store: ImageStore, id: string): LayerRecord | undefined {
  return layerIn(withAdditional(store).map(contentsOf), id);
}

/** The image's layers, base first. @throws corrupt where one is missing or incomplete */
export function layerChain(store: ImageStore, image: ImageRecord): LayerRecord[] {
  const chain = chainState(withAdditional(store).map(contentsOf), image);
  if (chain.state === "complete") return chain.layers;
  throw new OneholdError("corrupt", `image ${image.id} cannot be used: ${chain.why}`, {
    subject: image.id,
    hint: "Remove the image and pull it again.",
  });
}

type ChainState =
  | { readonly state: "complete"; readonly layers: LayerRecord[] }
  | { readonly state: "incomplete"; readonly why: string };

function chainState(contents: readonly StoreContents[], image: ImageRecord): ChainState {
  const layers: LayerRecord[] = [];
  const seen = new Set<string>();
  for (let id = image.topLayer; id !== undefined; ) {
    if (seen.has(id)) return { state: "incomplete", why: `its layer ${id} is its own ancestor` };
    seen.add(id);
    const layer = layerIn(contents, id);
    if (layer === undefined) return { state: "incomplete", why: `its layer ${id} is not in the store` };
    if (layer.incomplete) return { state: "incomplete", why: `its layer ${id} is not finished` };
    layers.push(layer);
    id = layer.parent;
  }
  layers.reverse();
  return isChainOf(image, layers)
    ? { state: "complete", layers }
    : { state: "incomplete", why: "its layers are not those that its config names" };
}

/** A layer that podman knows by its table of contents alone has no diff ID to compare. */
function isChainOf(image: ImageRecord, layers: readonly LayerRecord[]): boolean {
  const { diffIds } = image;
  return (
    layers.length === diffIds.length &&
    layers.every(({ diffDigest }, i) => diffDigest === undefined || diffDigest === diffIds[i])
  );
}

function layerIn(contents: readonly StoreContents[], id: string): LayerRecord | undefined {
  for (const { layers } of contents) {
    const layer = layers.get(id);
    if (layer !== undefined) return layer;
  }
  return undefined;
}

function withAdditional(store: ImageStore): ImageStore[] {
  return [store, ...store.additional];
}

function openAdditionalStore(root: string): ImageStore {
  refuseOtherDrivers(root);
  return { root, readOnly: true, cache: {}, additional: [] };
}

/** Each driver has folders of its own, named after it. */
function refuseOtherDrivers(root: string): void {
  const names = folderNames(root);
  const other = names.find((name) => /^[a-z]+-layers$/.test(name) && name !== "overlay-layers");
  if (names.includes("overlay-layers") || other === undefined) return;
  throw new OneholdError(
    "unsupported",
    `the image store ${root} uses the driver ${other.replace("-layers", "")}; only overlay can be read`,
    { subject: root },
  );
}

function folderNames(root: string): string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw toSystemError(error);
    throw new OneholdError("not-found", `there is no image store at ${root}`, { subject: root });
  }
}
