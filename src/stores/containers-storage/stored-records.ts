import { readText } from "./contents.ts";
import { containerFiles } from "./layout.ts";
import { parseContainers } from "./records.ts";
import type { StoreRecords } from "./removal-plan.ts";
import { contentsOf, type ImageStore } from "./store.ts";

/** All records of a store, read without a lock: to remove anything, they are read again under it. @throws corrupt, busy */
export function storedRecords(store: ImageStore): StoreRecords {
  const { storedImages, storedLayers } = contentsOf(store);
  // Containers after layers: a new container's layer is then not taken for an unused one.
  const containers = containerFiles(store.root).flatMap((path) => parseContainers(readText(path), path));
  return { images: storedImages, layers: storedLayers, containers };
}
