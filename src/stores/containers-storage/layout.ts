import { join } from "node:path";

/**
 * Where a containers/storage graph root with the overlay driver keeps what (podman 4.3 to 5.8 agree).
 * Identifiers of layers and images become parts of paths: only what `isStorageId` accepts may be joined.
 */
export const idPattern = /^[0-9a-f]{64}$/;

/** 64 lower-case hex digits: what podman, buildah and skopeo name layers, images and containers with. */
export function isStorageId(text: string): boolean {
  return idPattern.test(text);
}

/** Two files of layer records: the second (containers/storage 1.45 and later) is written without a sync, for throw-away layers. */
export function layerFiles(root: string): readonly [string, string] {
  return [join(root, "overlay-layers", "layers.json"), join(root, "overlay-layers", "volatile-layers.json")];
}

export function imagesFile(root: string): string {
  return join(root, "overlay-images", "images.json");
}

export function containerFiles(root: string): readonly [string, string] {
  return [
    join(root, "overlay-containers", "containers.json"),
    join(root, "overlay-containers", "volatile-containers.json"),
  ];
}

/** Lock files, in the order in which podman takes them. */
export function lockFiles(root: string): {
  readonly layers: string;
  readonly images: string;
  readonly containers: string;
} {
  return {
    layers: join(root, "overlay-layers", "layers.lock"),
    images: join(root, "overlay-images", "images.lock"),
    containers: join(root, "overlay-containers", "containers.lock"),
  };
}

/** The driver's folder of a layer: diff/, link, lower, work/, merged/. */
export function layerFolder(root: string, id: string): string {
  return join(root, "overlay", id);
}

export function tarSplitFile(root: string, id: string): string {
  return join(root, "overlay-layers", `${id}.tar-split.gz`);
}

/** Big data of a layer (zstd:chunked tables of contents). */
export function layerDataFolder(root: string, id: string): string {
  return join(root, "overlay-layers", id);
}

/** Manifest, config and signatures of an image. */
export function imageDataFolder(root: string, id: string): string {
  return join(root, "overlay-images", id);
}

/** The file name for a key of big data: the key itself where it has none but dots, digits and lower-case letters. */
export function bigDataName(key: string): string {
  return /^[.0-9a-z]*$/.test(key) ? key : `=${Buffer.from(key, "utf8").toString("base64")}`;
}
