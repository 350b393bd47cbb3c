import { formatReference, type ImageReference, parseReference } from "#image/reference.ts";
import {
  type BoundImage,
  BoundImageError,
  boundImagesFolder,
  type BoundUnits,
  findBoundImages,
  maxUnitSize,
} from "#image/bound-images.ts";
import { joinBytes } from "#base/bytes.ts";
import { type ImageRecord, readConfig, readManifest } from "#stores/containers-storage/images.ts";
import { listImages, openImageStore } from "#stores/containers-storage/store.ts";
import type { CommitFiles } from "#stores/ostree/commit-files.ts";
import type { DeploymentRecord } from "./records.ts";
import { fetchImages, type FetchOptions, type InspectedImage, inspectImage } from "../fetch.ts";
import type { HostContext, Operation } from "../operation.ts";
import { writeNote } from "../records.ts";
import { stopwatch } from "../stopwatch.ts";
import type { Sysroot } from "../sysroot.ts";

/** `pull`: from their registries; `stored`: from root's own podman store; `skip`: not at all. */
export type BoundImagesFrom = "pull" | "stored" | "skip";

/** The bound images of a commit that is not deployed yet. @throws BoundImageError */
export function boundImagesOf(files: CommitFiles): BoundImage[] {
  return findBoundImages(boundUnitsOf(files));
}

/**
 * Brings bound images into the image store, side by side; returns them with their digests. Those that are there as
 * their registries have them now are not fetched.
 */
export async function fetchBoundImages(
  context: HostContext,
  operation: Operation,
  images: readonly BoundImage[],
  options: Pick<FetchOptions, "tlsVerify"> & { readonly from: BoundImagesFrom },
): Promise<DeploymentRecord["boundImages"]> {
  const store = openImageStore(context.sysroot.imageStore);
  const byReference = Map.groupBy(images, ({ image }) => formatReference(referenceOf(image, options.from)));
  const inspected: InspectedImage[] = [];
  const names = [...byReference.keys()];
  for (let done = 0; done < names.length; done += askedAtOnce) {
    const some = names.slice(done, done + askedAtOnce).map(parseReference);
    inspected.push(...(await Promise.all(some.map((each) => inspectImage(context, store, each, options)))));
  }
  const before = new Set(listImages(store).map(({ id }) => id));
  const missing = inspected.filter(({ there }) => there === undefined);
  const clock = stopwatch("pull", "sync");
  const stages = { during: "bound images", after: "bound images pulled" };
  const fetched =
    missing.length === 0
      ? []
      : await fetchImages(context, operation, store, missing, { ...options, source: "auto", stages, clock });
  for (const [index, image] of fetched.entries()) {
    const reference = missing[index]?.reference;
    if (reference !== undefined && !before.has(image.id)) noteBoundImage(context.sysroot, image, reference);
  }
  const records = new Map(missing.map(({ reference }, index) => [formatReference(reference), fetched[index]]));
  return inspected.flatMap(({ reference, there }) => {
    const name = formatReference(reference);
    const record = there ?? records.get(name);
    if (record === undefined) throw new Error(`${name} was fetched and is not there`);
    return (byReference.get(name) ?? []).map(({ image, unit }) => ({ image, unit, digest: record.digest }));
  });
}

/** Each is a program that runs. */
const askedAtOnce = 8;

/** No user has asked for it: with the last deployment that demands it `gc` takes it, whatever its name. */
function noteBoundImage(sysroot: Sysroot, image: ImageRecord, reference: ImageReference): void {
  const note = {
    version: 1,
    reference: formatReference(reference),
    pulled: new Date().toISOString(),
    bound: true,
  } as const;
  writeNote(sysroot, image.digest, note, { manifest: readManifest(image), config: readConfig(image) });
}

function referenceOf(image: string, from: BoundImagesFrom): ImageReference {
  const { name } = parseReference(`registry:${image.replace(/^docker:\/\//, "")}`);
  return { transport: from === "stored" ? "containers-storage" : "registry", name };
}

function boundUnitsOf(files: CommitFiles): BoundUnits {
  return {
    entries() {
      const folder = files.find(boundImagesFolder);
      if (folder?.kind !== "directory") return undefined;
      return folder.names.map((name) => ({
        name,
        isSymlink: files.find(joinBytes(boundImagesFolder, name), false)?.kind === "symlink",
      }));
    },
    read(name) {
      const path = joinBytes(boundImagesFolder, name);
      const unit = files.find(path);
      if (unit === undefined) throw new BoundImageError("dangling", name, "leads to where the image has nothing");
      if (unit.kind !== "file")
        throw new BoundImageError("not-a-file", name, "leads to something that is no regular file");
      if (unit.size > maxUnitSize)
        throw new BoundImageError("broken-unit", name, "leads to a file that is too large for a unit");
      return files.read(path, maxUnitSize);
    },
  };
}
