import type { LayerRecord } from "./layers.ts";
import { unreferencedLayerIds } from "./removal-plan.ts";
import { contentsOf, type ImageStore } from "./store.ts";
import { storedRecords } from "./stored-records.ts";

/**
 * Finished layers that no image and no container stands on: what a broken-off pull leaves for the next try.
 * Read without a lock: to remove them, `sweepLayers` looks again.
 * @throws corrupt, busy
 */
export function unreferencedLayers(store: ImageStore): LayerRecord[] {
  const ids = unreferencedLayerIds(storedRecords(store));
  return [...contentsOf(store).layers.values()].filter((layer) => ids.has(layer.id) && !layer.incomplete);
}
