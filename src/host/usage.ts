import path from "node:path";
import type { Digest } from "#base/digest.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import { addFile, contentBelow, type ContentOnDisk, DeviceMap } from "#sharing/extents-of-files.ts";
import { DeviceRanges } from "#sharing/ranges.ts";
import { unreferencedLayers } from "#stores/containers-storage/unreferenced-layers.ts";
import { type ImageStore, listImagesWithLayers, listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { listComposefsImages, objectsOfImage } from "#stores/composefs/images.ts";
import { objectFile as composefsObjectFile } from "#stores/composefs/objects.ts";
import {
  openRepository as openComposefs,
  repositoryExists as composefsExists,
  type Repository as Composefs,
} from "#stores/composefs/repository.ts";
import { listOstreeImages } from "#stores/ostree/images.ts";
import { fileObjectsOf } from "#stores/ostree/reachable.ts";
import { objectFile, openRepository, repositoryExists, type Repository } from "#stores/ostree/repository.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

export type StoreName = "image store" | "ostree" | "composefs";

/** Bytes of file content on disk; metadata of the file system is not counted. */
export interface StoreUsage {
  readonly store: StoreName;
  readonly files: number;
  /** What it holds: shared and exclusive. */
  readonly bytes: number;
  /** Of these, also held by another store. */
  readonly shared: number;
  readonly exclusive: number;
  /** Of the exclusive ones, content of images that the image store has a copy of its own of. */
  readonly copied: number;
}

export interface ImageUsage {
  readonly names: readonly string[];
  readonly digest: Digest;
  /** On disk, in all stores together. */
  readonly bytes: number;
  /** Of these, held by two stores at once, on the same blocks. */
  readonly shared: number;
  /** Of these, in no other image: what its removal would give back. */
  readonly exclusive: number;
  /** Held a second time by another store, since it could not be shared. */
  readonly copied: number;
}

export interface Usage {
  readonly fileSystem: { readonly kind: string; readonly bytes: number; readonly available: number };
  readonly stores: readonly StoreUsage[];
  readonly images: readonly ImageUsage[];
  /** Layers that no image uses: a killed pull left them, and the next one takes them up. */
  readonly leftoverLayers: readonly { readonly id: string; readonly bytes: number }[];
}

/** Who uses which bytes, by where they lie on the disk. Takes no lock and writes nothing. */
export function usage(sysroot: Sysroot): Usage {
  const { kind, totalBytes, availableBytes } = fileSystemOf(sysroot.path);
  const devices = new DeviceMap();
  const layers = imageStoreExists(sysroot) ? measureLayers(sysroot, devices) : undefined;
  const projections = projectionsOf(sysroot, devices);
  const images = measureImages(layers, projections);
  const imageStore = union([...(layers?.byId.values() ?? [])].map((layer) => layer.ranges));
  const stores: readonly MeasuredStore[] = [
    ...(layers === undefined ? [] : [{ name: "image store" as const, files: layers.files, ranges: imageStore }]),
    ...projections,
  ];
  return {
    fileSystem: { kind, bytes: totalBytes, available: availableBytes },
    stores: stores.map((store): StoreUsage => {
      const { name, files, ranges } = store;
      const shared = ranges.overlap(union(stores.filter((other) => other !== store).map((other) => other.ranges)));
      const copies = union(images.map((image) => image.copies.get(name) ?? new DeviceRanges()));
      return {
        store: name,
        files,
        bytes: ranges.bytes,
        shared,
        exclusive: ranges.bytes - shared,
        copied: copies.bytes,
      };
    }),
    images: images.map((image) => describe(image, images)),
    leftoverLayers: layers?.leftovers ?? [],
  };
}

interface MeasuredStore {
  readonly name: StoreName;
  readonly files: number;
  readonly ranges: DeviceRanges;
}

/** A store that host images are projected into. */
interface MeasuredProjection extends MeasuredStore {
  readonly images: ReadonlyMap<Digest, ImageInStore>;
}

interface ImageInStore {
  /** What it is called there. */
  readonly names: readonly string[];
  /** Where the content of its files lies, and what else the store keeps for it as files. */
  readonly content: () => { readonly files: DeviceRanges; readonly others: DeviceRanges };
}

function projectionsOf(sysroot: Sysroot, devices: DeviceMap): MeasuredProjection[] {
  return [
    ...(repositoryExists(sysroot.ostreeRepo) ? [measureOstree(openRepository(sysroot.ostreeRepo), devices)] : []),
    ...(composefsExists(sysroot.composefs) ? [measureComposefs(openComposefs(sysroot.composefs), devices)] : []),
  ];
}

function measureOstree(repository: Repository, devices: DeviceMap): MeasuredProjection {
  const objects = path.join(repository.path, "objects");
  const contentOf = (commit: Checksum) => () => {
    const files = [...fileObjectsOf(repository, commit)].map((object) => objectFile(repository, object, "file"));
    return { files: contentOfFiles(objects, files, devices), others: new DeviceRanges() };
  };
  const images = listOstreeImages(repository).map(
    ({ manifestDigest, references, commit }) =>
      [manifestDigest, { names: references, content: contentOf(commit) }] as const,
  );
  return { name: "ostree", ...contentBelow(objects, devices), images: new Map(images) };
}

function measureComposefs(repository: Composefs, devices: DeviceMap): MeasuredProjection {
  const objects = path.join(repository.path, "objects");
  const contentOf = (digest: Digest) => () => {
    const { files, others } = objectsOfImage(repository, digest);
    const measure = (ids: ReadonlySet<ObjectId>) =>
      contentOfFiles(
        objects,
        [...ids].map((id) => composefsObjectFile(repository, id)),
        devices,
      );
    return { files: measure(files), others: measure(others) };
  };
  const images = listComposefsImages(repository).map(
    ({ manifestDigest, tags }) => [manifestDigest, { names: tags, content: contentOf(manifestDigest) }] as const,
  );
  return { name: "composefs", ...contentBelow(objects, devices), images: new Map(images) };
}

function contentOfFiles(folder: string, files: readonly string[], devices: DeviceMap): DeviceRanges {
  const ranges = new DeviceRanges();
  const device = devices.of(folder);
  for (const file of files) addFile(file, device, ranges);
  return ranges;
}

interface MeasuredLayers {
  readonly store: ImageStore;
  readonly byId: ReadonlyMap<string, ContentOnDisk>;
  readonly files: number;
  readonly leftovers: Usage["leftoverLayers"];
}

interface MeasuredImage {
  readonly names: readonly string[];
  readonly digest: Digest;
  readonly ranges: DeviceRanges;
  readonly shared: number;
  /** By store: what of the image's content in the image store it has a copy of its own of. */
  readonly copies: ReadonlyMap<StoreName, DeviceRanges>;
}

function measureLayers(sysroot: Sysroot, devices: DeviceMap): MeasuredLayers {
  const store = openImageStore(sysroot.imageStore);
  const byId = new Map(listLayers(store).map((layer) => [layer.id, contentBelow(layer.diffPath, devices)]));
  const files = [...byId.values()].reduce((sum, layer) => sum + layer.files, 0);
  const leftovers = unreferencedLayers(store).map((layer) => ({
    id: layer.id,
    bytes: byId.get(layer.id)?.ranges.bytes ?? 0,
  }));
  return { store, byId, files, leftovers };
}

function measureImages(
  layers: MeasuredLayers | undefined,
  projections: readonly MeasuredProjection[],
): MeasuredImage[] {
  const stored = layers === undefined ? [] : imagesOf(layers);
  const known = new Set(stored.map(({ image }) => image.digest));
  const unstored = new Set(
    projections.flatMap(({ images }) => [...images.keys()]).filter((digest) => !known.has(digest)),
  );
  const measure = (digest: Digest, names: readonly string[] | undefined, own: DeviceRanges): MeasuredImage => {
    const found = projections.flatMap((store) => {
      const image = store.images.get(digest);
      return image === undefined ? [] : [{ name: store.name, names: image.names, ...image.content() }];
    });
    const all = [own, ...found.map(({ files, others }) => union([files, others]))];
    const ranges = union(all);
    const alone = all.map((each, i) => each.without(union(all.filter((_, other) => other !== i))).bytes);
    return {
      names: names ?? found[0]?.names ?? [],
      digest,
      ranges,
      shared: ranges.bytes - alone.reduce((sum, bytes) => sum + bytes, 0),
      // Of an image that the image store does not have, nothing is a second copy.
      copies: new Map(names === undefined ? [] : found.map((store) => [store.name, store.files.without(own)])),
    };
  };
  return [
    ...stored.map(({ image, own }) => measure(image.digest, image.names, own)),
    ...[...unstored].map((digest) => measure(digest, undefined, new DeviceRanges())),
  ];
}

function imagesOf({ store, byId }: MeasuredLayers) {
  return listImagesWithLayers(store).map(({ image, layers }) => ({
    image,
    own: union(layers.map((layer) => byId.get(layer.id)?.ranges ?? new DeviceRanges())),
  }));
}

function describe(image: MeasuredImage, all: readonly MeasuredImage[]): ImageUsage {
  const others = union(all.filter((other) => other !== image).map((other) => other.ranges));
  const { names, digest, ranges, shared, copies } = image;
  const copied = [...copies.values()].reduce((sum, each) => sum + each.bytes, 0);
  return { names, digest, bytes: ranges.bytes, shared, exclusive: ranges.bytes - ranges.overlap(others), copied };
}

function union(sets: readonly DeviceRanges[]): DeviceRanges {
  const all = new DeviceRanges();
  for (const set of sets) all.addAll(set);
  return all;
}
