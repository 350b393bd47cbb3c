import { availableParallelism } from "node:os";
import { displayBytes } from "#base/bytes.ts";
import { parseDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { type ImageConfig, type Manifest, parseManifest } from "#formats/oci.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { finalDiffIdLabel } from "#image/host-image.ts";
import { LayerTreeBuilder } from "#image/layer-tree.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import type { SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import type { SharingMethod } from "#sharing/share.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { impliedDirectories } from "#stores/containers-storage/inode-metadata.ts";
import { layerEntries } from "#stores/containers-storage/layer-entries.ts";
import { type LayerRecord, tarSplitSize } from "#stores/containers-storage/layers.ts";
import { type ImageStore, layerChain } from "#stores/containers-storage/store.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { beginImport, type ImportResult, type LayerToImport, type OstreeImport } from "#stores/ostree/import.ts";
import { imageRef, pinRef, writeRef } from "#stores/ostree/refs.ts";
import { openRepository, type Repository } from "#stores/ostree/repository.ts";
import type { HostContext, Operation } from "../operation.ts";
import type { FileNeeds } from "./file-batches.ts";
import { FilePass } from "./file-pass.ts";
import { ImportProgress } from "./import-progress.ts";
import { recallLayer, rememberLayer } from "./layer-memory.ts";
import type { FileBatch, FileRead } from "./read-files.ts";

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

/** Shares an image with the ostree repository, unless it is there. All or nothing. */
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
  const { reference, config, documents, pinned, image, probe, allowCopy } = request;
  const finalDiffId = config.labels[finalDiffIdLabel];
  const manifest = parseManifest(documents.manifest);
  const layers = layersOf(layerChain(request.store, image), manifest, config);
  using ostree = await beginImport(
    repository,
    {
      reference,
      manifestDigest: image.digest,
      ...documents,
      created: createdAt(manifest, config),
      layers,
      ...(finalDiffId === undefined ? {} : { finalDiffId: parseDigest(finalDiffId) }),
      pinned,
    },
    {
      probe,
      allowCopy,
      onWait: () =>
        context.report({ kind: "notice", level: "info", text: "waiting for the lock of the ostree repository" }),
      signal: context.signal,
    },
  );
  operation.stage("sharing");
  await readLayers(context, reference, layers, ostree);
  ostree.stage();
  operation.stage("publishing");
  const { published } = ostree.publish();
  operation.stage("refs");
  const result = ostree.writeRefs(published);
  return { state: "imported", method: probe.method, ...described(result) };
}

/** Has every file that a store wants read, of all layers. */
async function readLayers(
  context: HostContext,
  reference: string,
  layers: readonly LayerToProject[],
  ostree: OstreeImport,
): Promise<void> {
  const progress = new ImportProgress(context, reference, layers);
  await using pool = new WorkerPool<FileBatch, FileRead[]>(workerEntry(context), availableParallelism());
  const pass = new FilePass({
    readFiles: (batch) => pool.run(batch),
    parallel: availableParallelism() * 2,
    targets: { ostree: ostree.target },
    onFile: (node, read) => {
      if (read.ostree !== undefined) ostree.take(node, read.ostree);
    },
    onBytes: (bytes) => progress.add(bytes),
    signal: context.signal,
  });
  try {
    for (const [index, layer] of mostBytesFirst(layers)) {
      const remembered = recallLayer(context.sysroot, layer.diffId, index);
      const tree = remembered?.tree ?? (await layerTree(layer.record, index, context.signal));
      const needs = new Map<FileNode | SymlinkNode, FileNeeds>();
      for (const [node, wanted] of ostree.addLayer(index, tree, remembered?.ostree))
        needs.set(node, { ostree: wanted });
      progress.know(index, needs.keys());
      await pass.give(layer.files, needs, () => {
        ostree.finishLayer(index);
        const objects = ostree.objectsOfLayer(index);
        if (objects !== undefined && objects.commit !== remembered?.ostree?.commit)
          rememberLayer(context.sysroot, layer.diffId, { tree, ostree: objects });
      });
    }
    await pass.finish();
  } finally {
    // Workers must not go on writing into a staging folder that is being removed.
    await pass.settle();
  }
}

/**
 * Workers are given bytes to read as soon as possible: a layer of few large files is parsed in no time, one of many
 * small files while the workers are busy.
 */
function mostBytesFirst(layers: readonly LayerToProject[]): [number, LayerToProject][] {
  const weight = ({ record }: LayerToProject) => (record.diffSize ?? 0) / (1 + tarSplitSize(record));
  return [...layers.entries()].toSorted(([, a], [, b]) => weight(b) - weight(a));
}

async function layerTree(record: LayerRecord, index: number, signal: AbortSignal): Promise<DirectoryNode> {
  const builder = new LayerTreeBuilder(index);
  for await (const entries of layerEntries(record)) {
    signal.throwIfAborted();
    for (const entry of entries) builder.add(entry);
  }
  return builder.finish(impliedDirectories(record));
}

function addRefs(repository: Repository, there: OstreeImage, { reference, pinned, image }: ProjectionRequest): void {
  if (!there.references.includes(reference)) writeRef(repository, imageRef(reference), there.commit);
  const pin = pinRef(image.digest);
  if (pinned && !there.refs.includes(pin)) writeRef(repository, pin, there.commit);
}

/** A layer of the image store, and what the image says of it. */
interface LayerToProject extends LayerToImport {
  readonly record: LayerRecord;
}

function layersOf(chain: readonly LayerRecord[], manifest: Manifest, config: ImageConfig): LayerToProject[] {
  if (chain.length !== manifest.layers.length || chain.length !== config.diffIds.length) {
    throw new OneholdError(
      "corrupt",
      `the image store has ${chain.length} layers of an image whose manifest names ${manifest.layers.length} and whose config names ${config.diffIds.length}`,
      { hint: "Remove the image and pull it again." },
    );
  }
  return chain.map((record, i) => {
    const digest = manifest.layers[i]?.digest;
    const diffId = config.diffIds[i];
    if (digest === undefined || diffId === undefined) throw new Error("layers are counted above");
    if (record.diffDigest !== undefined && record.diffDigest !== diffId) {
      throw new OneholdError(
        "corrupt",
        `layer ${record.id} of the image store is ${record.diffDigest}, the image's config says ${diffId}`,
      );
    }
    return { digest, diffId, files: record.diffPath, record };
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

function workerEntry(context: HostContext): URL {
  return new URL(`file-reader${context.workers.pathname.endsWith("/src/workers/") ? ".ts" : ".mjs"}`, context.workers);
}
