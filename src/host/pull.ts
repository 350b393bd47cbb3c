import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseConfig } from "#formats/oci.ts";
import { isHostImage } from "#image/host-image.ts";
import { formatReference, type ImageReference, storedName } from "#image/reference.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { probeSharing } from "#sharing/probe.ts";
import { inspectRemote, type RemoteManifest } from "#sources/inspect-remote.ts";
import { pullImage, type PullRequest } from "#sources/pull.ts";
import { type ImageRecord, readConfig, readManifest } from "#stores/containers-storage/images.ts";
import { listComposefsImages } from "#stores/composefs/images.ts";
import { openRepository as openComposefs, repositoryExists as composefsExists } from "#stores/composefs/repository.ts";
import { deleteTag } from "#stores/composefs/streams.ts";
import { findImage, type ImageStore, listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { listOstreeImages } from "#stores/ostree/images.ts";
import { deleteRef, imageRef } from "#stores/ostree/refs.ts";
import { openRepository as openOstree, repositoryExists as ostreeExists } from "#stores/ostree/repository.ts";
import { makeStores } from "./init.ts";
import { type HostContext, type Operation, runOperation } from "./operation.ts";
import { addPin, isPinned } from "./pins.ts";
import type { ComposefsProjection } from "./projection/composefs.ts";
import type { OstreeProjection } from "./projection/ostree.ts";
import { project, type Projections } from "./projection/projection.ts";
import { type ImageNote, readNote, writeNote } from "./records.ts";
import { noteOfRefusal, type NotesOnStores, notesOf } from "./notes.ts";
import { releaseLayers } from "./release-layers.ts";
import { demandSpace, warnOfTightSpace, watchSpace } from "./space.ts";
import { type Stopwatch, stopwatch } from "./stopwatch.ts";

export interface PullOptions {
  readonly reference: ImageReference;
  readonly pin: boolean;
  /** Treat it as a host image whatever its labels say. */
  readonly host: boolean;
  readonly source: PullRequest["source"];
  readonly allowCopy: boolean;
  /** Files of the image store may become unchangeable, where that is the only way to share them with composefs. */
  readonly allowVerity: boolean;
  readonly tlsVerify: boolean | undefined;
}

export interface PullResult {
  readonly reference: string;
  readonly digest: Digest;
  readonly pinned: boolean;
  /** `present`: the image store had it already. */
  readonly imageStore: "pulled" | "present";
  /** Bytes of the layers' blobs. */
  readonly bytes: { readonly fetched: number; readonly cached: number };
  readonly ostree?: OstreeProjection;
  readonly composefs?: ComposefsProjection;
  /** Wall time by phase, in milliseconds. */
  readonly milliseconds: Readonly<Record<"inspect" | "pull" | "sync" | "share" | "total", number>>;
}

/** Brings an image into the image store and, a host image, into the ostree repository; deploys nothing. */
export function pull(context: HostContext, options: PullOptions): Promise<PullResult> {
  const reference = formatReference(options.reference);
  return runOperation(context, { verb: "image pull", subject: reference }, async (operation) => {
    const clock = stopwatch("inspect", "pull", "sync", "share");
    await makeStores(context, { backend: undefined, composefs: undefined });
    const store = openImageStore(context.sysroot.imageStore);
    tellWhatSharingCosts(context, options);
    const remote = await clock.time("inspect", () =>
      inspectRemote(options.reference, { tlsVerify: options.tlsVerify, signal: context.signal }),
    );
    const there = remote === undefined ? undefined : imageAsNamed(store, remote.digest, options.reference);
    const stored = storedBlobs(store);
    const bytes = countBytes(stored, remote);
    const image =
      there ??
      (await pullIntoStore(context, operation, store, options, { remote, stored, bytes: bytes.fetched }, clock));
    const documents = { manifest: readManifest(image), config: readConfig(image) };
    const config = parseConfig(documents.config);
    const pinned = options.pin || isPinned(context.sysroot, image.digest);
    // What is noted already knows more: how the bytes got there when they did.
    const noted = readNote(context.sysroot, image.digest);
    const record = (stores: NotesOnStores) => {
      const note: ImageNote = { ...stores, version: 1, reference, pulled: new Date().toISOString() };
      writeNote(context.sysroot, image.digest, note, documents);
    };
    let made: Projections = {};
    if (options.host || isHostImage(config.labels)) {
      const { allowCopy, allowVerity } = options;
      const { name } = options.reference;
      const request = { image, store, documents, config, reference, name, pinned, allowCopy, allowVerity };
      made = await clock
        .time("share", () => project(context, operation, request))
        .catch((error: unknown) => {
          // The image stays in the image store, and `image list` can say why ostree has none of it.
          if (error instanceof OneholdError) record({ ...noted, ostree: noteOfRefusal(error, noted) });
          throw error;
        });
    }
    const { refusal, ...projections } = made;
    operation.stage("recording");
    if (refusal !== undefined) {
      record({ ...notesOf(projections, noted), ostree: noteOfRefusal(refusal, noted) });
      throw refusal;
    }
    const isNew = projections.ostree?.state === "imported" || projections.composefs?.state === "imported";
    if (isNew || noted === undefined) record(notesOf(projections, noted));
    if (options.pin) addPin(context.sysroot, image.digest, reference);
    await letGoOfOldImage(context, reference, image.digest);
    return {
      reference,
      digest: image.digest,
      pinned,
      imageStore: there === undefined ? "pulled" : "present",
      bytes,
      ...projections,
      milliseconds: clock.result(),
    };
  });
}

/**
 * The image that had this name before, and no other, may go from the other stores now: its refs and tags must not keep
 * it. Only where the new image is none for them: otherwise the import has moved the name.
 */
async function letGoOfOldImage(context: HostContext, reference: string, digest: Digest): Promise<void> {
  const { ostreeRepo, composefs } = context.sysroot;
  if (ostreeExists(ostreeRepo)) {
    const repository = openOstree(ostreeRepo);
    const named = listOstreeImages(repository).find(({ references }) => references.includes(reference));
    if (named !== undefined && named.manifestDigest !== digest) deleteRef(repository, imageRef(reference));
  }
  if (composefsExists(composefs)) {
    const repository = openComposefs(composefs);
    const named = listComposefsImages(repository).find(({ tags }) => tags.includes(reference));
    if (named !== undefined && named.manifestDigest !== digest) deleteTag(repository, reference);
  }
  await releaseLayers(context);
}

/** Before the first byte is fetched: a host image that can't be shared at all is refused, a worse way is told. */
function tellWhatSharingCosts({ sysroot, report }: HostContext, { host, allowCopy }: PullOptions): void {
  const stores = [
    ...(sysroot.backend === "composefs" ? [] : [{ name: "ostree", folder: sysroot.ostreeRepo }]),
    ...(sysroot.backend === "ostree" ? [] : [{ name: "composefs", folder: sysroot.composefs }]),
  ];
  for (const { name, folder } of stores) {
    const { method, reason } = probeSharing(sysroot.imageStore, folder);
    if (method === "reflink") continue;
    if (method === "none" && host && !allowCopy) {
      throw new OneholdError("cannot-share", `no file can be shared with the ${name} repository: ${reason}`, {
        hint: "With --allow-copy every file is copied: the image takes its size a second time.",
      });
    }
    const way =
      method === "hardlink" ? "files of a host image are hardlinked" : "files of a host image can only be copied";
    report({ kind: "notice", level: "info", text: `${reason}: ${way} into the ${name} repository` });
  }
}

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

/** What is known of a pull before it begins. */
interface Fetching {
  readonly remote: RemoteManifest | undefined;
  readonly stored: ReadonlySet<Digest>;
  /** Of blobs that are not there. */
  readonly bytes: number;
}

async function pullIntoStore(
  context: HostContext,
  operation: Operation,
  store: ImageStore,
  options: PullOptions,
  { remote, stored, bytes }: Fetching,
  clock: Stopwatch<"pull" | "sync">,
): Promise<ImageRecord> {
  const { sysroot, report } = context;
  const layers = remote?.manifest.layers.length ?? 1;
  demandSpace({
    directory: sysroot.imageStore,
    what: `pulling ${formatReference(options.reference)}`,
    // A blob is a temporary file first, and no smaller once it is unpacked.
    bytes: bytes * 2,
    inodes: layers * inodesOfLayer,
  });
  warnOfTightSpace(sysroot.imageStore, bytes, report);
  operation.markUnclean(listLayers(store).map((layer) => layer.id));
  operation.stage("pulling");
  const controller = new AbortController();
  const signal = AbortSignal.any([context.signal, controller.signal]);
  let pulled: { imageId: string };
  try {
    using _watch = watchSpace(sysroot.imageStore, controller);
    pulled = await clock.time("pull", () =>
      pullImage({
        reference: options.reference,
        storeRoot: sysroot.imageStore,
        temporary: sysroot.state.temporary,
        source: options.source,
        tlsVerify: options.tlsVerify,
        remote,
        storedBlobs: stored,
        report,
        signal,
      }),
    );
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  }
  operation.stage("pulled");
  await clock.time("sync", () => {
    using root = openDirectory(sysroot.imageStore);
    syncfs(root.fd);
  });
  operation.markClean();
  const image = findImage(store, { id: pulled.imageId });
  if (image !== undefined) return image;
  throw new OneholdError(
    "pull-failed",
    `${formatReference(options.reference)} was pulled, but the image store does not hold it whole`,
    {
      subject: sysroot.imageStore,
      hint: "Pull it again.",
    },
  );
}

/** The folders and links of a layer in the store. */
const inodesOfLayer = 8;
