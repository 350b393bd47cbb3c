import type { ImageRecord } from "#stores/containers-storage/images.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import { type ImageStore, listImagesWithLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { type ComposefsImage, listComposefsImages } from "#stores/composefs/images.ts";
import {
  openRepository as openComposefs,
  type Repository as Composefs,
  repositoryExists as composefsExists,
} from "#stores/composefs/repository.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { openRepository, type Repository, repositoryExists } from "#stores/ostree/repository.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

/** The stores that a sysroot has, and the images that each holds. */
export interface Inventory {
  readonly imageStore: ImageStore | undefined;
  /** Complete ones, with their layers, base first. */
  readonly stored: readonly { readonly image: ImageRecord; readonly layers: readonly LayerRecord[] }[];
  readonly ostree: Repository | undefined;
  readonly inOstree: readonly OstreeImage[];
  readonly composefs: Composefs | undefined;
  readonly inComposefs: readonly ComposefsImage[];
}

/** Takes no lock and writes nothing. */
export function takeInventory(sysroot: Sysroot): Inventory {
  const imageStore = imageStoreExists(sysroot) ? openImageStore(sysroot.imageStore) : undefined;
  const ostree = repositoryExists(sysroot.ostreeRepo) ? openRepository(sysroot.ostreeRepo) : undefined;
  const composefs = composefsExists(sysroot.composefs) ? openComposefs(sysroot.composefs) : undefined;
  return {
    imageStore,
    stored: imageStore === undefined ? [] : listImagesWithLayers(imageStore),
    ostree,
    inOstree: ostree === undefined ? [] : listOstreeImages(ostree),
    composefs,
    inComposefs: composefs === undefined ? [] : listComposefsImages(composefs),
  };
}
