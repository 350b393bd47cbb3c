import path from "node:path";
import type { Digest } from "#base/digest.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import { addFile, contentBelow, type ContentOnDisk, DeviceMap } from "#sharing/extents-of-files.ts";
import { DeviceRanges } from "#sharing/ranges.ts";
import { unreferencedLayers } from "#stores/containers-storage/unreferenced-layers.ts";
import { type ImageStore, listImagesWithLayers, listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { listOstreeImages } from "#stores/ostree/images.ts";
import { fileObjectsOf } from "#stores/ostree/reachable.ts";
import { objectFile, openRepository, repositoryExists, type Repository } from "#stores/ostree/repository.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

/** Bytes of file content on disk; metadata of the file system is not counted. */
export interface StoreUsage {
  readonly store: "image store" | "ostree";
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
  /** Held a second time by the ostree repository, since it could not be shared. */
  readonly copied: number;
}

export interface Usage {
  readonly fileSystem: { readonly kind: string; readonly bytes: number; readonly available: number };
  readonly stores: readonly StoreUsage[];
  readonly images: readonly ImageUsage[];
  /** Layers that no image uses: a killed pull left them, and the next one takes them up. */
  readonly leftoverLayers: readonly { readonly id: string; readonly bytes: number }[];
}

/** Who uses which bytes, by where they lie on the disk. Takes no lock; what lies in memory only is written out first. */
export function usage(sysroot: Sysroot): Usage {
  const { kind, totalBytes, availableBytes } = fileSystemOf(sysroot.path);
  const devices = new DeviceMap();
  const layers = imageStoreExists(sysroot) ? measureLayers(sysroot, devices) : undefined;
  const repository = repositoryExists(sysroot.ostreeRepo) ? openRepository(sysroot.ostreeRepo) : undefined;
  const objects = repository === undefined ? undefined : contentBelow(path.join(repository.path, "objects"), devices);
  const images = measureImages(layers, repository, devices);
  const copied = new DeviceRanges();
  for (const image of images) copied.addAll(image.copiedRanges);
  const imageStore = union([...(layers?.byId.values() ?? [])].map((layer) => layer.ranges));
  const ostree = objects?.ranges ?? new DeviceRanges();
  const shared = imageStore.overlap(ostree);
  const storeUsage = (store: StoreUsage["store"], files: number, ranges: DeviceRanges, copies: number): StoreUsage => ({
    store,
    files,
    bytes: ranges.bytes,
    shared,
    exclusive: ranges.bytes - shared,
    copied: copies,
  });
  return {
    fileSystem: { kind, bytes: totalBytes, available: availableBytes },
    stores: [
      ...(layers === undefined ? [] : [storeUsage("image store", layers.files, imageStore, 0)]),
      ...(objects === undefined ? [] : [storeUsage("ostree", objects.files, ostree, copied.bytes)]),
    ],
    images: images.map((image) => describe(image, images)),
    leftoverLayers: layers?.leftovers ?? [],
  };
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
  readonly copiedRanges: DeviceRanges;
  readonly shared: number;
  readonly copied: number;
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
  repository: Repository | undefined,
  devices: DeviceMap,
): MeasuredImage[] {
  const projected = new Map(
    (repository === undefined ? [] : listOstreeImages(repository)).map((image) => [image.manifestDigest, image]),
  );
  const objectsOf = (commit: Checksum) => {
    const ranges = new DeviceRanges();
    if (repository === undefined) return ranges;
    const device = devices.of(path.join(repository.path, "objects"));
    for (const object of fileObjectsOf(repository, commit))
      addFile(objectFile(repository, object, "file"), device, ranges);
    return ranges;
  };
  const measured: MeasuredImage[] = [];
  for (const { image, own } of layers === undefined ? [] : imagesOf(layers)) {
    const commit = projected.get(image.digest)?.commit;
    projected.delete(image.digest);
    const objects = commit === undefined ? new DeviceRanges() : objectsOf(commit);
    const shared = own.overlap(objects);
    measured.push({
      names: image.names,
      digest: image.digest,
      ranges: union([own, objects]),
      copiedRanges: objects.without(own),
      shared,
      copied: objects.bytes - shared,
    });
  }
  for (const image of projected.values()) {
    const objects = objectsOf(image.commit);
    measured.push({
      names: image.references,
      digest: image.manifestDigest,
      ranges: objects,
      copiedRanges: new DeviceRanges(),
      shared: 0,
      copied: 0,
    });
  }
  return measured;
}

function imagesOf({ store, byId }: MeasuredLayers) {
  return listImagesWithLayers(store).map(({ image, layers }) => ({
    image,
    own: union(layers.map((layer) => byId.get(layer.id)?.ranges ?? new DeviceRanges())),
  }));
}

function describe(image: MeasuredImage, all: readonly MeasuredImage[]): ImageUsage {
  const others = union(all.filter((other) => other !== image).map((other) => other.ranges));
  const { names, digest, ranges, shared, copied } = image;
  return { names, digest, bytes: ranges.bytes, shared, exclusive: ranges.bytes - ranges.overlap(others), copied };
}

function union(sets: readonly DeviceRanges[]): DeviceRanges {
  const all = new DeviceRanges();
  for (const set of sets) all.addAll(set);
  return all;
}
