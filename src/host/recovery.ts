import fs from "node:fs";
import path from "node:path";
import { syncfs } from "#linux/sync.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { clearUnfinishedWrites } from "#linux/durable.ts";
import { removeLeftovers } from "#stores/containers-storage/leftovers.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import { dropLayers } from "#stores/containers-storage/remove.ts";
import { withExclusiveLock } from "#stores/containers-storage/store-lock.ts";
import { findLayer, type ImageStore, listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import { openRepository as openComposefs } from "#stores/composefs/repository.ts";
import { clearStaging as clearComposefsStaging } from "#stores/composefs/staging.ts";
import { openRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { clearStaging } from "#stores/ostree/staging.ts";
import { clearJournal, type JournalEntry, readJournal } from "./journal.ts";
import type { HostContext } from "./operation.ts";
import { forgetLayers } from "./projection/layer-memory.ts";
import { imageStoreExists } from "./sysroot.ts";

/**
 * Clears what a killed operation left, as the holder of the sysroot's lock: half-written objects, downloads,
 * and layers that podman recorded before their data was on disk. What is whole stays for the next try.
 */
export async function recover(
  context: Pick<HostContext, "sysroot" | "report">,
  options: { quiet?: boolean } = {},
): Promise<void> {
  const { sysroot, report } = context;
  const killed = readJournal(sysroot);
  if (killed === undefined) return;
  if (options.quiet !== true) {
    const name = [killed.verb, killed.subject].join(" ").trim();
    report({
      kind: "notice",
      level: "info",
      text: `clearing what \`${name}\` left, which ended in stage "${killed.stage}"`,
    });
  }
  emptyFolder(sysroot.state.temporary);
  clearUnfinishedWrites(sysroot.state.path);
  clearUnfinishedWrites(sysroot.state.pins);
  if (repositoryExists(sysroot.ostreeRepo)) clearStaging(openRepository(sysroot.ostreeRepo));
  if (sysroot.backend !== "ostree") clearComposefsStaging(openComposefs(sysroot.composefs));
  if (imageStoreExists(sysroot)) {
    const store = openImageStore(sysroot.imageStore);
    await withExclusiveLock(store, removeLeftovers);
    if (killed.unclean !== undefined) await dropDamagedLayers(store, killed.unclean, context);
  }
  forgetLayers(sysroot);
  clearJournal(sysroot);
}

/** Checks every layer that an unclean pull may have left, and drops those whose content is not what was pulled. */
async function dropDamagedLayers(
  store: ImageStore,
  unclean: NonNullable<JournalEntry["unclean"]>,
  { report }: Pick<HostContext, "report">,
): Promise<void> {
  {
    using root = openDirectory(store.root);
    syncfs(root.fd);
  }
  const safe = new Set(unclean.layersBefore);
  const damaged: string[] = [];
  for (const layer of listLayers(store)) {
    if (safe.has(layer.id)) continue;
    const verdict = await verifyLayer(layer, chainOf(store, layer));
    if (verdict.outcome === "damaged") damaged.push(layer.id);
  }
  if (damaged.length === 0) return;
  await dropLayers(store, damaged);
  report({
    kind: "notice",
    level: "warning",
    text: `dropped ${damaged.length} layers that a killed pull had left damaged; the next pull fetches them again`,
  });
}

/** The layer and those below it, base first. */
function chainOf(store: ImageStore, layer: LayerRecord): LayerRecord[] {
  const below = layer.parent === undefined ? undefined : findLayer(store, layer.parent);
  return below === undefined ? [layer] : [...chainOf(store, below), layer];
}

function emptyFolder(folder: string): void {
  if (!fs.existsSync(folder)) return;
  for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
}
