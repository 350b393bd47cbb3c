import { readText } from "./contents.ts";
import { containerFiles } from "./layout.ts";
import type { LayerRecord } from "./layers.ts";
import { parseContainers } from "./records.ts";
import { unreferencedLayerIds } from "./removal-plan.ts";
import { contentsOf, type ImageStore } from "./store.ts";

/**
 * Finished layers that no image and no container stands on: what a broken-off pull leaves for the next try.
 * Read without a lock: to remove them, `sweepLayers` looks again.
 * @throws corrupt, busy
 */
export function unreferencedLayers(store: ImageStore): LayerRecord[] {
  const { storedImages, storedLayers, layers } = contentsOf(store);
  // Containers after layers: a new container's layer is then not taken for an unused one.
  const containers = containerFiles(store.root).flatMap((path) => parseContainers(readText(path), path));
  const ids = unreferencedLayerIds({ images: storedImages, layers: storedLayers, containers });
  return [...layers.values()].filter((layer) => ids.has(layer.id) && !layer.incomplete);
}
