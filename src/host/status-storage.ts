import { formatBytes } from "#base/amounts.ts";
import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { boundUnitsOfDirectory } from "#boot/bound-units.ts";
import type { Deployment } from "#boot/deployments.ts";
import { findBoundImages } from "#image/bound-images.ts";
import { parseReference, storedName } from "#image/reference.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { listImages, openImageStore } from "#stores/containers-storage/store.ts";
import { readDeploymentRecord } from "./deployment/records.ts";
import { readNote } from "./records.ts";
import type { BoundImageDocument, StorageState } from "./status-document.ts";
import type { StorageMode } from "./storage-mode.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

/** What the image store has of the images that a host needs. */
export class StoredImages {
  readonly #sysroot: Sysroot;
  readonly #images: readonly ImageRecord[];

  /** @throws OneholdError where the image store can't be read */
  constructor(sysroot: Sysroot) {
    this.#sysroot = sysroot;
    this.#images = imageStoreExists(sysroot) ? listImages(openImageStore(sysroot.imageStore)) : [];
  }

  /** Whether the image of a deployment is kept as the host is set to keep it. */
  stateOf(digest: Digest, mode: StorageMode): StorageState {
    const reason = mode === "separate" ? null : this.#whyNotUnified(digest);
    return { mode, inEffect: reason === null, reason };
  }

  /**
   * Those that a deployment demands: as it was recorded when it was made, else by its own files and the names that the
   * store has now. @throws OneholdError: see `findBoundImages`
   */
  boundImages(deployment: Deployment): BoundImageDocument[] {
    const { checksum, serial, directory } = deployment;
    const recorded = readDeploymentRecord(this.#sysroot, `${checksum}.${serial}`)?.boundImages ?? [];
    return findBoundImages(boundUnitsOfDirectory(directory)).map((bound) => {
      const digest = recorded.find(({ image, unit }) => image === bound.image && unit === bound.unit)?.digest;
      const found = digest === undefined ? this.#find(bound.image) : this.#findDigest(digest);
      return { ...bound, digest: digest ?? found?.digest ?? null, present: found !== undefined };
    });
  }

  #whyNotUnified(digest: Digest): string | null {
    if (!this.#images.some(({ digests }) => digests.includes(digest))) return "the image store does not have its image";
    const note = readNote(this.#sysroot, digest)?.ostree;
    if (note?.state !== "imported") return "another program brought its image in: 'onehold usage' tells what is shared";
    const { bytes } = note.copied;
    return bytes === 0 ? null : `${formatBytes(bytes)} could not be shared, and were copied into ostree`;
  }

  #findDigest(digest: Digest): ImageRecord | undefined {
    return this.#images.find(({ digests }) => digests.includes(digest));
  }

  #find(text: string): ImageRecord | undefined {
    const [, digest] = /@([^@]*)$/.exec(text) ?? [];
    if (digest !== undefined && isDigest(digest)) {
      return this.#findDigest(digest);
    }
    const name = storedNameOf(text);
    return name === undefined ? undefined : this.#images.find(({ names }) => names.includes(name));
  }
}

/** undefined: it is a name that podman would have to search for. */
export function storedNameOf(text: string): string | undefined {
  try {
    return storedName(parseReference(text));
  } catch (error) {
    if (error instanceof OneholdError && error.code === "usage") return undefined;
    throw error;
  }
}
