import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { removeImage, untag as untagStored } from "#stores/containers-storage/remove.ts";
import { openImageStore } from "#stores/containers-storage/store.ts";
import { type ComposefsImage, listComposefsImages } from "#stores/composefs/images.ts";
import { openRepository as openComposefs, type Repository as Composefs } from "#stores/composefs/repository.ts";
import { deleteTag, writeTag } from "#stores/composefs/streams.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import { listOstreeImages } from "#stores/ostree/images.ts";
import { pruneRepository } from "#stores/ostree/prune.ts";
import { deleteRef, imageRef, isOfImage, writeRef } from "#stores/ostree/refs.ts";
import { holdsObjects, openRepository, type Repository } from "#stores/ostree/repository.ts";
import { findUnprotected, protect } from "./protect.ts";
import { findHostImage, type FoundImage, isNamed } from "./find.ts";
import { takeInventory } from "./inventory.ts";
import { type HostContext, type Operation, runOperation } from "./operation.ts";
import { forgetLayers } from "./projection/layer-memory.ts";
import { removeNote } from "./records.ts";
import { releaseLayers } from "./release-layers.ts";
import { demandWholeRootSet, isPinTag, isReferenceTag, rootSet, type RootSet } from "./root-set.ts";

export interface RemoveResult {
  readonly image: string;
  readonly digest: Digest;
  /** `untagged`: the image has other names, and stays under these. */
  readonly outcome: "untagged" | "removed";
  /** What the ostree repository gave back; objects that other images have left without a ref are among them. */
  readonly ostree: { readonly objects: number; readonly bytes: number } | undefined;
  /** The same of the composefs repository. */
  readonly composefs: { readonly objects: number; readonly bytes: number } | undefined;
}

/**
 * Removes an image from every store; by name, only that name where the image has others. What must stay
 * (pinned or deployed, say) is refused. What other images share stays.
 */
export function remove(context: HostContext, image: string): Promise<RemoveResult> {
  return runOperation(context, { verb: "image remove", subject: image }, async (operation) => {
    const found = findHostImage(context.sysroot, image);
    const others = otherNames(found);
    const inventory = takeInventory(context.sysroot);
    const roots = rootSet(context.sysroot, inventory, context.hostRoot);
    if (others.length > 0 && !(found.name !== undefined && roots.boundNames.has(found.name))) {
      await untag(context, found, others);
      return { image, digest: found.digest, outcome: "untagged", ostree: undefined, composefs: undefined };
    }
    refuseRoots(found, image, roots);
    protect(inventory, findUnprotected(inventory, roots));
    const ostree = await removeEverywhere(context, operation, inventory.ostree, found, roots.borrowedLayers);
    const composefs = await removeFromComposefs(context, operation, found);
    return { image, digest: found.digest, outcome: "removed", ostree, composefs };
  });
}

function otherNames({ name, stored }: FoundImage): string[] {
  return name === undefined ? [] : (stored?.names ?? []).filter((other) => other !== name);
}

function refuseRoots(found: FoundImage, image: string, roots: RootSet): void {
  demandWholeRootSet(roots);
  const reasons = found.digests.flatMap((digest) => roots.reasons.get(digest) ?? []);
  if (reasons.length === 0) return;
  throw new OneholdError("busy", `${image} can't be removed: it is ${[...new Set(reasons)].join(", and ")}`, {
    subject: image,
    hint: hintFor(image, reasons),
  });
}

function hintFor(image: string, reasons: readonly string[]): string {
  const some = (start: string) => reasons.some((reason) => reason.startsWith(start));
  if (some("pinned as")) return `Take the pin back first: onehold image unpin ${image}`;
  if (some("borrowed"))
    return "Remove the containers and images that need it from that store first (`podman rm`, `podman rmi`).";
  return "Remove the deployment or the ref first (`ostree admin undeploy`, `ostree refs --delete`).";
}

async function untag(
  { sysroot }: HostContext,
  { stored, name, projected, inComposefs }: FoundImage,
  [other = "", ...others]: readonly string[],
): Promise<void> {
  if (name === undefined) return;
  if (stored !== undefined) await untagStored(openImageStore(sysroot.imageStore), stored, name);
  if (inComposefs !== undefined) untagInComposefs(openComposefs(sysroot.composefs), inComposefs, name, other);
  if (projected === undefined) return;
  const repository = openRepository(sysroot.ostreeRepo);
  const going = projected.references.filter((reference) => isNamed(reference, name));
  // Podman may have given the image a name that ostree does not know: the commit needs a ref that stays.
  const stays = projected.references.some((reference) => [other, ...others].some((each) => isNamed(reference, each)));
  if (!stays) writeRef(repository, imageRef(`docker://${other}`), projected.commit);
  for (const reference of going) deleteRef(repository, imageRef(reference));
}

/** The refs go first: a store that still has the image's layers is whole, a commit without a ref is not lost. */
async function removeEverywhere(
  context: HostContext,
  operation: Operation,
  repository: Repository | undefined,
  found: FoundImage,
  borrowed: ReadonlySet<string>,
): Promise<RemoveResult["ostree"]> {
  const { sysroot, signal } = context;
  operation.stage("removing");
  if (repository !== undefined) dropRefs(repository, found.digests);
  await releaseLayers(context);
  if (found.stored !== undefined) await removeImage(openImageStore(sysroot.imageStore), found.stored, { borrowed });
  for (const digest of found.digests) removeNote(sysroot, digest);
  forgetLayers(sysroot);
  operation.stage("pruning");
  // Also where no ref was left: the tag may have moved away, which leaves the objects to the next prune.
  return repository === undefined || !holdsObjects(repository) ? undefined : pruneRepository(repository, { signal });
}

/** As in ostree, the image needs a tag that stays. */
function untagInComposefs(
  repository: Composefs,
  { tags, manifestDigest }: ComposefsImage,
  name: string,
  other: string,
) {
  const going = tags.filter((tag) => isNamed(tag, name));
  if (tags.length === going.length) writeTag(repository, `docker://${other}`, manifestDigest);
  for (const tag of going) deleteTag(repository, tag);
}

/** Takes the image's tags, and sweeps: nothing of what other tags reach goes. */
async function removeFromComposefs(
  { sysroot, signal, report }: HostContext,
  operation: Operation,
  { digests }: FoundImage,
): Promise<RemoveResult["composefs"]> {
  if (sysroot.backend === "ostree") return undefined;
  operation.stage("sweeping");
  const repository = openComposefs(sysroot.composefs);
  for (const { manifestDigest, tags } of listComposefsImages(repository)) {
    if (!digests.includes(manifestDigest)) continue;
    // That of a pin is one that a failed pull has left: what is pinned is not removed.
    for (const tag of tags) if (isReferenceTag(tag) || isPinTag(tag)) deleteTag(repository, tag);
  }
  const { objects, bytes } = await sweepRepository(repository, {
    dryRun: false,
    signal,
    onWait: () => report({ kind: "notice", level: "info", text: "waiting for the lock of the composefs repository" }),
  });
  return { objects, bytes };
}

function dropRefs(repository: Repository, digests: readonly Digest[]): void {
  for (const image of listOstreeImages(repository)) {
    if (!digests.includes(image.manifestDigest)) continue;
    for (const ref of image.refs) if (isOfImage(ref)) deleteRef(repository, ref);
  }
}
