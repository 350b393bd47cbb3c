import { OneholdError } from "#base/errors.ts";
import type { Digest } from "#base/digest.ts";
import { formatReference, type ImageReference, storedName } from "#image/reference.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { inspectRemote, type RemoteManifest } from "#sources/inspect-remote.ts";
import { pullImage, pullImages, type PullRequest } from "#sources/pull.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { findImage, type ImageStore, listLayers } from "#stores/containers-storage/store.ts";
import type { HostContext, Operation } from "./operation.ts";
import { demandSpace, warnOfTightSpace, watchSpace } from "./space.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** An image of a source, and what the image store has of it. */
export interface InspectedImage {
  readonly reference: ImageReference;
  readonly remote: RemoteManifest | undefined;
  /** The image as the source has it now, if it is in the image store under this name. */
  readonly there: ImageRecord | undefined;
  /** Of the layers' blobs. */
  readonly bytes: { readonly fetched: number; readonly cached: number };
}

export interface FetchOptions {
  readonly source: PullRequest["source"];
  readonly tlsVerify: boolean | undefined;
  /** Names in the journal: while podman writes, and when it has written and nothing is synced. */
  readonly stages: { readonly during: string; readonly after: string };
  readonly clock: Stopwatch<"pull" | "sync">;
}

/** Asks the source for the manifest; nothing is fetched. */
export async function inspectImage(
  { signal }: Pick<HostContext, "signal">,
  store: ImageStore,
  reference: ImageReference,
  { tlsVerify }: Pick<FetchOptions, "tlsVerify">,
): Promise<InspectedImage> {
  const remote = await inspectRemote(reference, { tlsVerify, signal });
  const there = remote === undefined ? undefined : imageAsNamed(store, remote.digest, reference);
  return { reference, remote, there, bytes: countBytes(storedBlobs(store), remote) };
}

/** Brings an image into the image store, on disk when this returns. */
export async function fetchImage(
  context: HostContext,
  operation: Operation,
  store: ImageStore,
  wanted: InspectedImage,
  options: FetchOptions,
): Promise<ImageRecord> {
  const [image] = await fetchImages(context, operation, store, [wanted], options);
  if (image === undefined) throw new Error("an image was fetched and not returned");
  return image;
}

/** The same for several, side by side. Where one fails, none is returned; what came before stays for the next try. */
export async function fetchImages(
  context: HostContext,
  operation: Operation,
  store: ImageStore,
  wanted: readonly InspectedImage[],
  { source, tlsVerify, stages, clock }: FetchOptions,
): Promise<ImageRecord[]> {
  const { sysroot, report } = context;
  demandRoom(context, wanted);
  operation.markUnclean(listLayers(store).map((layer) => layer.id));
  operation.stage(stages.during);
  const controller = new AbortController();
  const settings = {
    storeRoot: sysroot.imageStore,
    temporary: sysroot.state.temporary,
    source,
    tlsVerify,
    storedBlobs: storedBlobs(store),
    report,
    signal: AbortSignal.any([context.signal, controller.signal]),
  };
  let pulled: readonly { imageId: string }[];
  try {
    using _watch = watchSpace(sysroot.imageStore, controller);
    pulled = await clock.time("pull", async () => {
      const [only, ...others] = wanted;
      return only !== undefined && others.length === 0
        ? [await pullImage({ ...settings, ...only })]
        : pullImages(wanted, settings, { id: `${wanted.length} images` });
    });
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  }
  operation.stage(stages.after);
  await clock.time("sync", () => {
    using root = openDirectory(sysroot.imageStore);
    syncfs(root.fd);
  });
  operation.markClean();
  return wanted.map(({ reference }, index) => {
    const id = pulled[index]?.imageId;
    const image = id === undefined ? undefined : findImage(store, { id });
    if (image !== undefined) return image;
    throw new OneholdError(
      "pull-failed",
      `${formatReference(reference)} was pulled, but the image store does not hold it whole`,
      { subject: sysroot.imageStore, hint: "Pull it again." },
    );
  });
}

/** Refuses what surely can't fit, before the first byte. */
function demandRoom({ sysroot, report }: HostContext, wanted: readonly InspectedImage[]): void {
  const bytes = wanted.reduce((sum, image) => sum + image.bytes.fetched, 0);
  const layers = wanted.reduce((sum, { remote }) => sum + (remote?.manifest.layers.length ?? 1), 0);
  demandSpace({
    directory: sysroot.imageStore,
    what: `pulling ${wanted.map(({ reference }) => formatReference(reference)).join(", ")}`,
    // A blob is a temporary file first, and no smaller once it is unpacked.
    bytes: bytes * 2,
    inodes: layers * inodesOfLayer,
  });
  warnOfTightSpace(sysroot.imageStore, bytes, report);
}

/** The folders and links of a layer in the store. */
const inodesOfLayer = 8;

/** The image in the store that the reference's manifest names, if the reference is one of its names there. */
function imageAsNamed(store: ImageStore, digest: Digest, reference: ImageReference): ImageRecord | undefined {
  const image = findImage(store, { digest });
  const name = storedName(reference);
  return image !== undefined && (name === undefined || image.names.includes(name)) ? image : undefined;
}

/** The layers that are there, by the digests of the blobs that they came as. */
function storedBlobs(store: ImageStore): ReadonlySet<Digest> {
  return new Set(listLayers(store).flatMap((layer) => layer.compressedDigest ?? []));
}

function countBytes(
  there: ReadonlySet<Digest>,
  remote: RemoteManifest | undefined,
): { fetched: number; cached: number } {
  let fetched = 0;
  let cached = 0;
  for (const layer of remote?.manifest.layers ?? []) {
    if (there.has(layer.digest)) cached += layer.size;
    else fetched += layer.size;
  }
  return { fetched, cached };
}
