import type { Attempts } from "#boot/attempts.ts";
import type { Deployment } from "#boot/deployments.ts";
import { openRepository } from "#stores/ostree/repository.ts";
import type { BootEntryDocument, EntryBytes, StorageState } from "./status-document.ts";
import { deployedImage } from "./status-images.ts";
import { StoredImages } from "./status-storage.ts";
import type { StorageMode } from "./storage-mode.ts";
import type { Sysroot } from "./sysroot.ts";
import { usage } from "./usage.ts";

/** Describes deployments, given in boot order. `bytes`: with what their images take, which is measured. */
export function describeDeployments(
  sysroot: Sysroot,
  deployments: readonly Deployment[],
  { mode, bytes }: { readonly mode: StorageMode; readonly bytes: boolean },
  attempts: Attempts,
): Map<Deployment, BootEntryDocument> {
  const stored = attempts.try(() => new StoredImages(sysroot));
  const images = bytes ? attempts.try(() => usage(sysroot).images) : undefined;
  const repository = deployments.length === 0 ? undefined : attempts.try(() => openRepository(sysroot.ostreeRepo));
  const describe = (deployment: Deployment, index: number): BootEntryDocument => {
    const { origin, stateroot, checksum, serial, directory, kernelArguments, locked } = deployment;
    const deployed = repository && deployedImage(repository, deployment, attempts);
    const digest = deployed?.image.imageDigest;
    const storage: StorageState | undefined = digest && stored && attempts.try(() => stored.stateOf(digest, mode));
    return {
      image: deployed?.image ?? null,
      cachedUpdate: deployed?.update ?? null,
      incompatible: origin?.changedLocally ?? false,
      pinned: origin?.pinned ?? false,
      softRebootCapable: false,
      downloadOnly: locked,
      store: deployed === undefined ? null : "ostreeContainer",
      ostree: { stateroot, checksum, deploySerial: serial },
      composefs: null,
      onehold: {
        index,
        storage: storage ?? null,
        boundImages: (stored && attempts.try(() => stored.boundImages(deployment), directory)) ?? null,
        kernelArguments,
        ...(bytes ? { bytes: bytesOf(images?.find((image) => image.digest === digest)) } : {}),
      },
    };
  };
  return new Map(deployments.map((deployment, index) => [deployment, describe(deployment, index)]));
}

function bytesOf(image: EntryBytes | undefined): EntryBytes | null {
  if (image === undefined) return null;
  const { bytes, shared, exclusive, copied } = image;
  return { bytes, shared, exclusive, copied };
}
