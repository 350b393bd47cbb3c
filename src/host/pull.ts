import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseConfig } from "#formats/oci.ts";
import { isHostImage } from "#image/host-image.ts";
import { formatReference, type ImageReference } from "#image/reference.ts";
import { probeSharing } from "#sharing/probe.ts";
import type { PullRequest } from "#sources/pull.ts";
import { readConfig, readManifest } from "#stores/containers-storage/images.ts";
import { listComposefsImages } from "#stores/composefs/images.ts";
import { openRepository as openComposefs, repositoryExists as composefsExists } from "#stores/composefs/repository.ts";
import { deleteTag } from "#stores/composefs/streams.ts";
import { openImageStore } from "#stores/containers-storage/store.ts";
import { listOstreeImages } from "#stores/ostree/images.ts";
import { deleteRef, imageRef } from "#stores/ostree/refs.ts";
import { openRepository as openOstree, repositoryExists as ostreeExists } from "#stores/ostree/repository.ts";
import { fetchImage, inspectImage } from "./fetch.ts";
import { makeStores } from "./init.ts";
import { type HostContext, type Operation, runOperation } from "./operation.ts";
import { addPin, isPinned } from "./pins.ts";
import type { ComposefsProjection } from "./projection/composefs.ts";
import type { OstreeProjection } from "./projection/ostree.ts";
import { project, type Projections } from "./projection/projection.ts";
import type { ProjectionRequest } from "./projection/request.ts";
import { type ImageNote, readNote, writeNote } from "./records.ts";
import { noteOfRefusal, type NotesOnStores, notesOf } from "./notes.ts";
import { releaseLayers } from "./release-layers.ts";
import { stopwatch } from "./stopwatch.ts";

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
  const subject = formatReference(options.reference);
  return runOperation(context, { verb: "image pull", subject }, async (operation) => {
    await makeStores(context, { backend: undefined, composefs: undefined });
    return bringImage(context, operation, options);
  });
}

/** The same, within an operation; the stores are there. */
export async function bringImage(
  context: HostContext,
  operation: Operation,
  options: PullOptions,
): Promise<PullResult> {
  const reference = formatReference(options.reference);
  const clock = stopwatch("inspect", "pull", "sync", "share");
  const store = openImageStore(context.sysroot.imageStore);
  const probes = trySharing(context, options);
  const wanted = await clock.time("inspect", () => inspectImage(context, store, options.reference, options));
  const { there, bytes } = wanted;
  const stages = { during: "pulling", after: "pulled" };
  const image = there ?? (await fetchImage(context, operation, store, wanted, { ...options, stages, clock }));
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
    const request = { image, store, documents, config, reference, name, pinned, probes, allowCopy, allowVerity };
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
  if (isNew || noted === undefined || noted.bound === true) record(notesOf(projections, noted));
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

/**
 * Finds out, before the first byte is fetched, how files get into each store: a host image that can't be shared at all is
 * refused, a worse way is told.
 */
function trySharing({ sysroot, report }: HostContext, { host, allowCopy }: PullOptions): ProjectionRequest["probes"] {
  const { backend, imageStore, ostreeRepo, composefs } = sysroot;
  const probes = {
    ...(backend === "composefs" ? {} : { ostree: probeSharing(imageStore, ostreeRepo) }),
    ...(backend === "ostree" ? {} : { composefs: probeSharing(imageStore, composefs) }),
  };
  for (const [name, { method, reason }] of Object.entries(probes)) {
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
  return probes;
}
