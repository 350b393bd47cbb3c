import type { Digest } from "#base/digest.ts";
import { removeGarbage } from "#stores/containers-storage/remove.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import { deleteTag } from "#stores/composefs/streams.ts";
import { pruneRepository } from "#stores/ostree/prune.ts";
import { deleteRef } from "#stores/ostree/refs.ts";
import { lockOstreeSysroot } from "#stores/ostree/sysroot-lock.ts";
import { type DeferredImage, findGarbage, type Garbage, isForgotten } from "./garbage.ts";
import { measureGarbage } from "./garbage-on-disk.ts";
import { type Inventory, takeInventory } from "./inventory.ts";
import { type HostContext, type Operation, runOperation } from "./operation.ts";
import { forgetLayers } from "./projection/layer-memory.ts";
import { forgetNotes } from "./records.ts";
import { protect } from "./protect.ts";
import { demandWholeRootSet, rootSet, type RootSet } from "./root-set.ts";
import type { StoreName } from "./usage.ts";

export interface SweptStore {
  readonly store: StoreName;
  /** Manifest digests of the images that went. */
  readonly images: readonly Digest[];
  /** Layers of the image store, objects of the others. */
  readonly parts: number;
  /** On disk, held by this store; another may go on holding them: see `freed`. */
  readonly bytes: number;
}

export interface GcResult {
  readonly dryRun: boolean;
  readonly stores: readonly SweptStore[];
  /** Bytes of file content that come back: held by what went, and by nothing else in the stores. */
  readonly freed: number;
  /** Images that stay for now, since a container of the image store's own needs them. */
  readonly deferred: readonly DeferredImage[];
}

/** What `gc` would do. Takes no lock, never waits and writes nothing. */
export function planGc({ sysroot, hostRoot }: Pick<HostContext, "sysroot" | "hostRoot">): GcResult {
  const { inventory, garbage } = plan({ sysroot, hostRoot });
  return resultOf(inventory, garbage, { dryRun: true });
}

/** Removes from every store what nothing keeps. */
export function gc(context: HostContext): Promise<GcResult> {
  return runOperation(context, { verb: "gc" }, (operation) => collectGarbage(context, operation));
}

/**
 * The same, within an operation. First go the refs and tags of what is to go, then the images of the image store, last
 * the objects that nothing reaches: each step leaves less, all of it whole, and the next run goes on from there.
 */
async function collectGarbage(context: HostContext, operation: Operation): Promise<GcResult> {
  const { sysroot, signal } = context;
  // Nobody deploys between the look at the deployments and the last deletion.
  using _ = await lockDeployments(context);
  const { inventory, roots, garbage } = plan(context);
  const { imageStore, ostree, composefs } = inventory;
  const result = resultOf(inventory, garbage, { dryRun: false });
  operation.stage("dropping");
  protect(inventory, garbage.unprotected);
  if (ostree !== undefined) for (const ref of garbage.ostree.refs) deleteRef(ostree, ref);
  if (composefs !== undefined) for (const tag of garbage.composefs.tags) deleteTag(composefs, tag);
  operation.stage("removing");
  if (imageStore !== undefined && garbage.imageStore.images.length + garbage.imageStore.layers.length > 0) {
    await removeGarbage(imageStore, garbage.imageStore.images, roots.borrowedLayers, {
      signal,
      onWait: () => notice(context, "waiting for podman, which works in the image store"),
    });
  }
  operation.stage("pruning");
  if (ostree !== undefined && garbage.ostree.objects.length > 0) await pruneRepository(ostree, { signal });
  operation.stage("sweeping");
  if (composefs !== undefined && garbage.composefs.objects.length + garbage.composefs.links.length > 0) {
    await sweepRepository(composefs, {
      dryRun: false,
      signal,
      onWait: () => notice(context, "waiting for the lock of the composefs repository"),
    });
  }
  operation.stage("forgetting");
  // Not before: a note may be all that tells that an image, by its name, is nobody's.
  const left = takeInventory(sysroot);
  forgetNotes(sysroot, (hex) => isForgotten(left, hex));
  forgetLayers(sysroot);
  return result;
}

function plan({ sysroot, hostRoot }: Pick<HostContext, "sysroot" | "hostRoot">): {
  inventory: Inventory;
  roots: RootSet;
  garbage: Garbage;
} {
  const inventory = takeInventory(sysroot);
  const roots = rootSet(sysroot, inventory, hostRoot);
  demandWholeRootSet(roots);
  return { inventory, roots, garbage: findGarbage(sysroot, inventory, roots) };
}

function resultOf(inventory: Inventory, garbage: Garbage, { dryRun }: { dryRun: boolean }): GcResult {
  const { bytes, freed } = measureGarbage(inventory, garbage);
  const { imageStore, ostree, composefs, deferred } = garbage;
  const swept = (store: StoreName, images: readonly Digest[], parts: readonly unknown[]): SweptStore => ({
    store,
    images: images.toSorted(),
    parts: parts.length,
    bytes: bytes[store],
  });
  const stores = [
    ...(inventory.imageStore === undefined ? [] : [swept("image store", imageStore.digests, imageStore.layers)]),
    ...(inventory.ostree === undefined ? [] : [swept("ostree", ostree.digests, ostree.objects)]),
    ...(inventory.composefs === undefined ? [] : [swept("composefs", composefs.images, composefs.objects)]),
  ];
  return { dryRun, stores, freed, deferred };
}

async function lockDeployments(context: HostContext): Promise<Disposable | undefined> {
  const { ostree } = takeInventory(context.sysroot);
  if (ostree === undefined) return undefined;
  return await lockOstreeSysroot(ostree, {
    signal: context.signal,
    onWait: () => notice(context, "waiting for the lock of the ostree sysroot (bootc or ostree runs)"),
  });
}

function notice({ report }: Pick<HostContext, "report">, text: string): void {
  report({ kind: "notice", level: "info", text });
}
