import { availableParallelism } from "node:os";
import { displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { type ImageConfig, type Manifest, parseManifest } from "#formats/oci.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { finalDiffIdLabel } from "#image/host-image.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import { parseDigest } from "#base/digest.ts";
import type { SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import type { SharingMethod } from "#sharing/share.ts";
import { impliedDirectories } from "#stores/containers-storage/inode-metadata.ts";
import { layerEntries } from "#stores/containers-storage/layer-entries.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { type ImageStore, layerChain } from "#stores/containers-storage/store.ts";
import type { FileBatch, StoredFile } from "#stores/ostree/file-objects.ts";
import { importImage, type ImportResult, type LayerToImport } from "#stores/ostree/import.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { imageRef, pinRef, writeRef } from "#stores/ostree/refs.ts";
import { openRepository, type Repository } from "#stores/ostree/repository.ts";
import type { HostContext, Operation } from "./operation.ts";

/** An image of the image store that the ostree repository shall have too. */
export interface ProjectionRequest {
  readonly image: ImageRecord;
  readonly store: ImageStore;
  readonly documents: { readonly manifest: Buffer; readonly config: Buffer };
  readonly config: ImageConfig;
  readonly reference: string;
  readonly pinned: boolean;
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
}

/** What the ostree repository holds of an image, and how its bytes got there. */
export type Projection =
  | { readonly state: "present"; readonly commit: Checksum }
  | {
      readonly state: "imported";
      readonly commit: Checksum;
      readonly method: SharingMethod;
      readonly account: SharingAccount;
      readonly leftOut: { readonly special: readonly string[]; readonly byRule: Readonly<Record<string, number>> };
      readonly layers: { readonly imported: number; readonly present: number };
    };

/** Shares an image with the ostree repository, unless it is there. */
export async function projectIntoOstree(
  context: HostContext,
  operation: Operation,
  request: ProjectionRequest,
): Promise<Projection> {
  const repository = openRepository(context.sysroot.ostreeRepo);
  const there = listOstreeImages(repository).find((image) => image.manifestDigest === request.image.digest);
  if (there !== undefined) {
    addRefs(repository, there, request);
    return { state: "present", commit: there.commit };
  }
  await using pool = new WorkerPool<FileBatch, StoredFile[]>(workerEntry(context), availableParallelism());
  const { reference, config, documents, pinned, image, probe } = request;
  const finalDiffId = config.labels[finalDiffIdLabel];
  const manifest = parseManifest(documents.manifest);
  const result = await importImage(
    repository,
    {
      reference,
      manifestDigest: image.digest,
      ...documents,
      created: createdAt(manifest, config),
      layers: layersToImport(layerChain(request.store, image), manifest, config),
      ...(finalDiffId === undefined ? {} : { finalDiffId: parseDigest(finalDiffId) }),
      pinned,
    },
    {
      probe,
      allowCopy: request.allowCopy,
      storeFiles: (batch) => pool.run(batch),
      parallel: availableParallelism() * 2,
      onBytes: (progress) => reportImport(context, reference, progress),
      onStage: (stage) => operation.stage(stage),
      onWait: () =>
        context.report({ kind: "notice", level: "info", text: "waiting for the lock of the ostree repository" }),
      signal: context.signal,
    },
  );
  return { state: "imported", method: probe.method, ...described(result) };
}

function addRefs(repository: Repository, there: OstreeImage, { reference, pinned, image }: ProjectionRequest): void {
  if (!there.references.includes(reference)) writeRef(repository, imageRef(reference), there.commit);
  const pin = pinRef(image.digest);
  if (pinned && !there.refs.includes(pin)) writeRef(repository, pin, there.commit);
}

function layersToImport(chain: readonly LayerRecord[], manifest: Manifest, config: ImageConfig): LayerToImport[] {
  if (chain.length !== manifest.layers.length || chain.length !== config.diffIds.length) {
    throw new OneholdError(
      "corrupt",
      `the image store has ${chain.length} layers of an image whose manifest names ${manifest.layers.length} and whose config names ${config.diffIds.length}`,
      { hint: "Remove the image and pull it again." },
    );
  }
  return chain.map((layer, i) => {
    const digest = manifest.layers[i]?.digest;
    const diffId = config.diffIds[i];
    if (digest === undefined || diffId === undefined) throw new Error("layers are counted above");
    if (layer.diffDigest !== undefined && layer.diffDigest !== diffId) {
      throw new OneholdError(
        "corrupt",
        `layer ${layer.id} of the image store is ${layer.diffDigest}, the image's config says ${diffId}`,
      );
    }
    return {
      digest,
      diffId,
      files: layer.diffPath,
      entries: () => layerEntries(layer),
      impliedDirectory: impliedDirectories(layer),
    };
  });
}

/** When the image was made, as ostree-ext dates its commits. */
function createdAt(manifest: Manifest, config: ImageConfig): number {
  const text = manifest.annotations?.["org.opencontainers.image.created"] ?? config.created;
  const time = text === undefined ? Number.NaN : Date.parse(text);
  return Math.max(0, Math.floor((Number.isNaN(time) ? Date.now() : time) / 1000));
}

function described({ commit, account, leftOut, layersImported, layersPresent }: ImportResult) {
  return {
    commit,
    account,
    leftOut: {
      special: leftOut.special.map((path) => `/${displayBytes(path)}`),
      byRule: Object.fromEntries(leftOut.byRule),
    },
    layers: { imported: layersImported, present: layersPresent },
  };
}

function reportImport(
  context: HostContext,
  id: string,
  { bytes, bytesTotal }: { bytes: number; bytesTotal: number },
): void {
  context.report({
    kind: "bytes",
    task: "importing",
    id,
    description: "Sharing with the ostree repository",
    bytes,
    bytesCached: 0,
    bytesTotal,
    steps: 0,
    stepsCached: 0,
    stepsTotal: 1,
    parts: [],
    estimated: false,
  });
}

function workerEntry(context: HostContext): URL {
  return new URL(
    `object-writer${context.workers.pathname.endsWith("/src/workers/") ? ".ts" : ".mjs"}`,
    context.workers,
  );
}
