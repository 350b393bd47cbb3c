import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { ImageConfig, Manifest } from "#formats/oci.ts";
import type { FileContent, LayerStreamEntry } from "#formats/splitstream-layer.ts";
import { LayerTreeBuilder } from "#image/layer-tree.ts";
import { type DirectoryNode, type FileNode, filesOf } from "#image/tree.ts";
import { impliedDirectories } from "#stores/containers-storage/inode-metadata.ts";
import { layerEntries } from "#stores/containers-storage/layer-entries.ts";
import { type LayerRecord, tarSplitSize } from "#stores/containers-storage/layers.ts";

/** A layer of the image store, and what the image says of it. */
export interface LayerToProject {
  /** In the manifest. */
  readonly digest: Digest;
  readonly diffId: Digest;
  /** The folder with the unpacked files. */
  readonly files: string;
  readonly record: LayerRecord;
}

/** The layers of an image, base first. @throws "corrupt" where the image store and the image do not agree */
export function layersOf(chain: readonly LayerRecord[], manifest: Manifest, config: ImageConfig): LayerToProject[] {
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

/**
 * Workers are given bytes to read as soon as possible: a layer of few large files is parsed in no time, one of many
 * small files while the workers are busy.
 */
export function mostBytesFirst(layers: readonly LayerToProject[]): [number, LayerToProject][] {
  const weight = ({ record }: LayerToProject) => (record.diffSize ?? 0) / (1 + tarSplitSize(record));
  return [...layers.entries()].toSorted(([, a], [, b]) => weight(b) - weight(a));
}

/** A layer as its tar headers describe it. */
export interface ParsedLayer {
  readonly tree: DirectoryNode;
  /** The files with content, in the tar's order; `undefined` for one that a later one of the same name replaced. */
  readonly contents: readonly (FileNode | undefined)[];
}

/** `contents` are only collected where they are wanted: of many files they take much memory. */
export async function parseLayer(
  record: LayerRecord,
  index: number,
  { signal, wantsContents }: { readonly signal: AbortSignal; readonly wantsContents: boolean },
): Promise<ParsedLayer> {
  const builder = new LayerTreeBuilder(index);
  const contents: FileNode[] = [];
  for await (const entries of layerEntries(record)) {
    signal.throwIfAborted();
    for (const entry of entries) {
      const file = builder.add(entry);
      if (wantsContents && file !== undefined && file.size > 0) contents.push(file);
    }
  }
  const tree = builder.finish(impliedDirectories(record));
  if (!wantsContents) return { tree, contents };
  const kept = new Set<unknown>(filesOf(tree));
  return { tree, contents: contents.map((file) => (kept.has(file) ? file : undefined)) };
}

/** A layer as its stream in a composefs repository describes it, contents included. */
export async function recallStream(
  record: LayerRecord,
  index: number,
  entries: AsyncIterable<readonly LayerStreamEntry[]>,
  signal: AbortSignal,
): Promise<{ tree: DirectoryNode; contents: ReadonlyMap<FileNode, FileContent> }> {
  const builder = new LayerTreeBuilder(index);
  const contents = new Map<FileNode, FileContent>();
  for await (const batch of entries) {
    signal.throwIfAborted();
    for (const { entry, content } of batch) {
      const file = builder.add(entry);
      if (file !== undefined && content !== undefined) contents.set(file, content);
    }
  }
  return { tree: builder.finish(impliedDirectories(record)), contents };
}
