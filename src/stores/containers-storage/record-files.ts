import { readText } from "./contents.ts";
import { containerFiles, imagesFile, layerFiles } from "./layout.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { joinRecords, type RecordText, splitRecords } from "./record-text.ts";
import { parseContainers, parseImages, parseLayers } from "./records.ts";
import type { StoreRecords } from "./removal-plan.ts";
import { announceChange, type ExclusiveHold } from "./store-lock.ts";

/** What podman gives its record files. */
const recordMode = 0o600;

/** Everything that stands in the store now; it stays so while the hold lasts. @throws corrupt */
export function readRecords(hold: ExclusiveHold): StoreRecords {
  const { root } = hold.store;
  return {
    images: parseImages(readText(imagesFile(root)), imagesFile(root)),
    layers: layerFiles(root).flatMap((path) => parseLayers(readText(path), path)),
    containers: containerFiles(root).flatMap((path) => parseContainers(readText(path), path)),
  };
}

/** Changes records in place, or drops them (undefined). The file is written, durably, only if one changes. */
export type ChangeRecord = (record: RecordText) => RecordText | undefined;

export function rewriteImages(hold: ExclusiveHold, change: ChangeRecord): void {
  rewrite(imagesFile(hold.store.root), change, () => announceChange(hold.imagesLock));
}

export function rewriteLayers(hold: ExclusiveHold, change: ChangeRecord): void {
  for (const path of layerFiles(hold.store.root)) rewrite(path, change, () => announceChange(hold.layersLock));
}

function rewrite(path: string, change: ChangeRecord, announce: () => void): void {
  const before = splitRecords(readText(path) ?? "");
  const after = before.map(change).filter((record) => record !== undefined);
  if (after.length === before.length && after.every((record, i) => record.text === before[i]?.text)) return;
  // First: who reads the old records under the new token reads them once more than needed, if we are killed here.
  announce();
  writeFileDurably(path, joinRecords(after), recordMode);
}
