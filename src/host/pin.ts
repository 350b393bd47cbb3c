import type { Digest } from "#base/digest.ts";
import { openRepository as openComposefs, repositoryExists as composefsExists } from "#stores/composefs/repository.ts";
import { deleteTag, writeTag } from "#stores/composefs/streams.ts";
import { deleteRef, pinRef, writeRef } from "#stores/ostree/refs.ts";
import { openRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { findHostImage } from "./find.ts";
import { type HostContext, runOperation } from "./operation.ts";
import { addPin, removePin } from "./pins.ts";
import { pinTagOf } from "./root-set.ts";
import { releaseLayers } from "./release-layers.ts";

export interface PinResult {
  readonly image: string;
  readonly digest: Digest;
  /** False: it was so already. */
  readonly changed: boolean;
}

/** Makes an image stay, by its digest: whatever happens to its name. */
export function pin(context: HostContext, image: string): Promise<PinResult> {
  return runOperation(context, { verb: "image pin", subject: image }, async () => {
    const { digest, projected, inComposefs } = findHostImage(context.sysroot, image);
    if (inComposefs !== undefined) writeTag(openComposefs(context.sysroot.composefs), pinTagOf(digest), digest);
    if (projected !== undefined) writeRef(openRepository(context.sysroot.ostreeRepo), pinRef(digest), projected.commit);
    return { image, digest, changed: addPin(context.sysroot, digest, image) };
  });
}

/** Takes a pin back; the image itself stays until it is removed, unless its name is gone: ostree's next prune then takes it there. */
export function unpin(context: HostContext, image: string): Promise<PinResult> {
  return runOperation(context, { verb: "image unpin", subject: image }, async () => {
    const { sysroot } = context;
    const { digest, digests } = findHostImage(sysroot, image);
    let changed = false;
    // Packed anew it may have been pinned by another digest than it goes by now.
    for (const each of digests) {
      if (composefsExists(sysroot.composefs)) deleteTag(openComposefs(sysroot.composefs), pinTagOf(each));
      changed = removePin(sysroot, each) || changed;
      if (repositoryExists(sysroot.ostreeRepo)) deleteRef(openRepository(sysroot.ostreeRepo), pinRef(each));
    }
    await releaseLayers(context);
    return { image, digest, changed };
  });
}
