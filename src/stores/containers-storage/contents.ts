import { OneholdError } from "#base/errors.ts";
import { fileStamp, maxRecordFile, readBounded } from "./bounded-file.ts";
import { type ImageState, imageState } from "./images.ts";
import { imagesFile, isStorageId, layerFiles } from "./layout.ts";
import { type LayerRecord, layerRecord } from "./layers.ts";
import { parseImages, parseLayers, type StoredImage, type StoredLayer } from "./records.ts";

/** All records of one graph root, as they stood together at one moment. */
export interface StoreContents {
  readonly storedImages: readonly StoredImage[];
  readonly storedLayers: readonly StoredLayer[];
  readonly images: readonly ImageState[];
  /** By id: also incomplete ones, and those of containers. */
  readonly layers: ReadonlyMap<string, LayerRecord>;
}

/** What was read last, and the stamp of the files that it was read from. */
export interface ContentsCache {
  latest?: { readonly stamp: string; readonly contents: StoreContents };
}

const attempts = 50;
const pauseMs = 2;

/**
 * Reads without a lock, so that it never waits for podman nor delays it. Podman replaces its files by
 * rename, so none is ever torn; that they belong together is seen by their stamps, before and after.
 * @throws corrupt; busy where podman goes on writing all the time
 */
export function readContents(root: string, readOnly: boolean, cache: ContentsCache): StoreContents {
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const stamp = recordStamp(root);
    if (cache.latest?.stamp === stamp) return cache.latest.contents;
    const contents = readOnce(root, readOnly);
    if (recordStamp(root) === stamp) {
      cache.latest = { stamp, contents };
      return contents;
    }
    // A moment for podman's next rename; reading happens in programs that have nothing else to do meanwhile.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
  }
  throw new OneholdError("busy", `the records of the image store ${root} change all the time`, {
    subject: root,
    hint: "Try again when podman has finished.",
  });
}

function recordStamp(root: string): string {
  return [imagesFile(root), ...layerFiles(root)].map(fileStamp).join(" ");
}

function readOnce(root: string, readOnly: boolean): StoreContents {
  // Images before layers: podman writes an image after its layers, and removes it before them.
  const storedImages = parseImages(readText(imagesFile(root)), imagesFile(root));
  const storedLayers = layerFiles(root).flatMap((path) => parseLayers(readText(path), path));
  return {
    storedImages,
    storedLayers,
    images: storedImages.map((image) => imageState(image, root, readOnly)),
    layers: new Map(
      storedLayers.filter(({ id }) => isStorageId(id)).map((layer) => [layer.id, layerRecord(layer, root)]),
    ),
  };
}

/** One of podman's record files. */
export function readText(path: string): string | undefined {
  return readBounded(path, maxRecordFile)?.toString("utf8");
}
