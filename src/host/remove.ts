import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseManifest } from "#formats/oci.ts";
import { parseReference, storedName } from "#image/reference.ts";
import { removeImage, untag as untagStored } from "#stores/containers-storage/remove.ts";
import { openImageStore } from "#stores/containers-storage/store.ts";
import { layerRefs, listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { pruneRepository } from "#stores/ostree/prune.ts";
import { deleteRef, imageRef, listRefs } from "#stores/ostree/refs.ts";
import { openRepository, repositoryExists, type Repository } from "#stores/ostree/repository.ts";
import { findHostImage, type FoundImage } from "./find.ts";
import { type HostContext, type Operation, runOperation } from "./operation.ts";
import { forgetLayers } from "./projection/layer-memory.ts";
import { removeNote } from "./records.ts";
import { rootSet } from "./root-set.ts";

export interface RemoveResult {
  readonly image: string;
  readonly digest: Digest;
  /** `untagged`: the image has other names, and stays under these. */
  readonly outcome: "untagged" | "removed";
  /** What the ostree repository gave back. */
  readonly ostree: { readonly objects: number; readonly bytes: number } | undefined;
}

/**
 * Removes an image from every store; by name, only that name where the image has others. What must stay
 * (a pin, say) is refused. What other images share stays.
 */
export function remove(context: HostContext, image: string): Promise<RemoveResult> {
  return runOperation(context, { verb: "image remove", subject: image }, async (operation) => {
    const found = findHostImage(context.sysroot, image);
    const others = otherNames(found);
    if (others > 0) return { image, digest: found.digest, outcome: "untagged", ostree: await untag(context, found) };
    refuseRoots(context, found, image);
    return {
      image,
      digest: found.digest,
      outcome: "removed",
      ostree: await removeEverywhere(context, operation, found),
    };
  });
}

function otherNames({ name, stored }: FoundImage): number {
  return name === undefined ? 0 : (stored?.names ?? []).filter((other) => other !== name).length;
}

function refuseRoots({ sysroot }: HostContext, { digest }: FoundImage, image: string): void {
  const reasons = rootSet(sysroot).get(digest) ?? [];
  if (reasons.length === 0) return;
  throw new OneholdError("busy", `${image} can't be removed: it is ${reasons.join(", and ")}`, {
    subject: image,
    hint: `Take the pin back first: onehold image unpin ${image}`,
  });
}

async function untag({ sysroot }: HostContext, { stored, name, projected }: FoundImage): Promise<undefined> {
  if (name === undefined) return;
  if (stored !== undefined) await untagStored(openImageStore(sysroot.imageStore), stored, name);
  for (const reference of projected?.references ?? []) {
    if (isNamed(reference, name)) deleteRef(openRepository(sysroot.ostreeRepo), imageRef(reference));
  }
}

/** Whether a reference of ostree's, which says where the image came from, stands for that name in the image store. */
function isNamed(reference: string, name: string): boolean {
  try {
    return storedName(parseReference(reference)) === name;
  } catch {
    return false; // Of a transport that is not ours.
  }
}

/** The refs go first: a store that still has the image's layers is whole, a commit without a ref is not lost. */
async function removeEverywhere(
  context: HostContext,
  operation: Operation,
  found: FoundImage,
): Promise<RemoveResult["ostree"]> {
  const { sysroot } = context;
  operation.stage("removing");
  if (found.projected !== undefined) dropRefs(openRepository(sysroot.ostreeRepo), found.projected);
  if (found.stored !== undefined) await removeImage(openImageStore(sysroot.imageStore), found.stored);
  removeNote(sysroot, found.digest);
  forgetLayers(sysroot);
  operation.stage("pruning");
  if (found.projected === undefined || !repositoryExists(sysroot.ostreeRepo)) return undefined;
  return pruneRepository(openRepository(sysroot.ostreeRepo), { signal: context.signal });
}

/** Drops the image's refs, and those of layers that no other image has. */
function dropRefs(repository: Repository, image: OstreeImage): void {
  const kept = new Set(
    listOstreeImages(repository)
      .filter((other) => other.commit !== image.commit)
      .flatMap((other) => layerRefs(parseManifest(Buffer.from(other.manifest)).layers)),
  );
  const there = listRefs(repository);
  for (const ref of image.refs) deleteRef(repository, ref);
  for (const ref of layerRefs(parseManifest(Buffer.from(image.manifest)).layers)) {
    if (!kept.has(ref) && there.has(ref)) deleteRef(repository, ref);
  }
}
