import path from "node:path";
import { byteStringOfText } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { canonicalJson } from "#formats/canonical-json.ts";
import { serializeCommit } from "#formats/ostree-commit.ts";
import { serializeDirtree } from "#formats/ostree-dirtree.ts";
import type { CommitMetadataEntry } from "#formats/ostree-metadata.ts";
import { type Checksum, checksumOf, type FileMetadata } from "#formats/ostree-objects.ts";
import type { TarEntry } from "#formats/tar.ts";
import { type ImpliedDirectory, LayerTreeBuilder } from "#image/layer-tree.ts";
import { mergeLayers, overlay } from "#image/merge.ts";
import type { DirectoryNode } from "#image/tree.ts";
import { addTo, emptyAccount, type SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import { batchFiles, filesOf, type NodeBatch } from "./batches.ts";
import { type FileBatch, type StoredFile, storeEmptyFile } from "./file-objects.ts";
import { demandMinimumFree } from "./free-space.ts";
import { collectNativeLayer } from "./native-layers.ts";
import { applyPathRules, dropBuildLeftovers, type LeftOut } from "./path-rules.ts";
import { blobRef, imageRef, pinRef, readRef, writeRef } from "./refs.ts";
import { isWholeCommit, lockRepository, refuseUnsafeRepository, type Repository } from "./repository.ts";
import {
  hasFileObject,
  inheritsXattrs,
  makeStaging,
  publishStaged,
  readStaged,
  type Staging,
  stageMetadataObject,
} from "./staging.ts";
import {
  adoptObjects,
  type DirectoryObjects,
  type ObjectsOfNodes,
  type PutMetadata,
  type ReadMetadata,
  TreeSerializer,
  treeOfCommit,
} from "./trees.ts";

/** A layer whose files lie unpacked on disk. */
export interface LayerToImport {
  /** The layer's digest in the manifest: its ref is named after it. */
  readonly digest: Digest;
  readonly diffId: Digest;
  /** The folder with the unpacked files. */
  readonly files: string;
  /** Its tar headers, in order. */
  readonly entries: () => AsyncIterable<readonly TarEntry[]>;
  readonly impliedDirectory: ImpliedDirectory;
}

export interface ImageToImport {
  /** As ostree-ext prints it: `docker://host/name:tag`. */
  readonly reference: string;
  readonly manifestDigest: Digest;
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** When the image was made; seconds since 1970. */
  readonly created: number;
  readonly layers: readonly LayerToImport[];
  /** Label `ostree.final-diffid`: the last layer that carries ostree objects. */
  readonly finalDiffId?: Digest;
  /** Also protect the commit from bootc's clean-up. */
  readonly pinned: boolean;
}

export interface ImportOptions {
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
  /** Stores a batch of files, in a worker. */
  readonly storeFiles: (batch: FileBatch) => Promise<StoredFile[]>;
  /** How many batches may be under way at once. */
  readonly parallel: number;
  readonly onBytes: (progress: { bytes: number; bytesTotal: number }) => void;
  /** Called when a stage is reached, by its name; a hook for the journal (and for tests that kill there). */
  readonly onStage: (stage: ImportStage) => void;
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

export type ImportStage = "sharing" | "publishing" | "refs";

export interface ImportResult {
  readonly commit: Checksum;
  readonly account: SharingAccount;
  readonly leftOut: LeftOut;
  readonly layersImported: number;
  readonly layersPresent: number;
  readonly objectsPublished: number;
}

/**
 * Gives an image to the ostree repository, as ostree-ext would have imported it, but with the content of its
 * files shared: a commit for each layer, the merge commit, and the refs that protect them. All or nothing: a
 * refusal (`cannot-share`, `not-utf8`, `corrupt`, `unsafe-repository`) leaves the repository as it was.
 */
export async function importImage(
  repository: Repository,
  image: ImageToImport,
  options: ImportOptions,
): Promise<ImportResult> {
  refuseUnsafeRepository(repository);
  demandMinimumFree(repository);
  using _lock = await lockRepository(repository, {
    ...(options.onWait ? { onWait: options.onWait } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  using staging = makeStaging(repository);
  const importing = new Importing(repository, staging, image, options);
  const { commit, leftOut, layerCommits } = await importing.run();
  options.onStage("publishing");
  const { published } = publishStaged(repository, staging);
  options.onStage("refs");
  for (const [digest, layerCommit] of layerCommits) writeRef(repository, blobRef(digest), layerCommit);
  if (image.pinned) writeRef(repository, pinRef(image.manifestDigest), commit);
  writeRef(repository, imageRef(image.reference), commit);
  return {
    commit,
    leftOut,
    account: importing.account,
    layersImported: layerCommits.size,
    layersPresent: image.layers.length - layerCommits.size,
    objectsPublished: published,
  };
}

const importer: CommitMetadataEntry = { key: "ostree.importer.version", type: "s", value: "onehold-1" };
const plainDirectory: FileMetadata = { uid: 0, gid: 0, mode: 0o040755, xattrs: [] };
const whiteoutMark: FileMetadata = { uid: 0, gid: 0, mode: 0o100644, xattrs: [] };

class Importing {
  readonly account: SharingAccount = emptyAccount();
  readonly #repository: Repository;
  readonly #staging: Staging;
  readonly #image: ImageToImport;
  readonly #options: ImportOptions;
  readonly #objects: ObjectsOfNodes = new Map();
  readonly #refused = new Map<Checksum, number>();
  readonly #serializer: TreeSerializer;
  readonly #inheritsXattrs: boolean;
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;
  #bytesTotal = 0;

  constructor(repository: Repository, staging: Staging, image: ImageToImport, options: ImportOptions) {
    this.#repository = repository;
    this.#staging = staging;
    this.#image = image;
    this.#options = options;
    this.#inheritsXattrs = inheritsXattrs(staging);
    const store = { objects: this.#objectsFolder, staging: staging.path };
    this.#serializer = new TreeSerializer(this.#objects, this.#put, () => storeEmptyFile(store, whiteoutMark));
  }

  async run(): Promise<{ commit: Checksum; leftOut: LeftOut; layerCommits: Map<Digest, Checksum> }> {
    this.#options.onStage("sharing");
    const { layers, finalDiffId } = this.#image;
    const native = finalDiffId === undefined ? 0 : layers.findIndex((layer) => layer.diffId === finalDiffId) + 1;
    if (finalDiffId !== undefined && native === 0) {
      throw new OneholdError(
        "corrupt",
        `label ostree.final-diffid names ${finalDiffId}, which is no layer of the image`,
      );
    }
    try {
      const nativeCommits = await this.#storeNativeLayers(layers.slice(0, native));
      const trees = await this.#storeLayers(layers.slice(native), native);
      await this.#drain();
      this.#refuseIfCopying();
      const base = this.#image.layers[0];
      return native > 0 && base !== undefined
        ? this.#commitOverBase(trees, nativeCommits, base.digest)
        : this.#commitPlain(trees);
    } catch (error) {
      // Workers must not go on writing into a staging folder that is being removed.
      await Promise.allSettled(this.#running);
      throw error;
    }
  }

  /** A plain image: its layers are laid over each other first, then ostree's rules are applied. */
  #commitPlain(layers: readonly LayerTree[]) {
    const { tree, leftOut } = applyPathRules(mergeLayers(layers.map((layer) => layer.tree)), { ostreeBase: false });
    const layerCommits = this.#commitLayers(layers);
    return { commit: this.#mergeCommit(dropBuildLeftovers(tree), undefined), leftOut, layerCommits };
  }

  /** An image built on an ostree commit, which has those rules behind it already. */
  #commitOverBase(layers: readonly LayerTree[], nativeCommits: ReadonlyMap<Digest, Checksum>, baseDigest: Digest) {
    const base = nativeCommits.get(baseDigest) ?? readRef(this.#repository, blobRef(baseDigest));
    if (base === undefined) throw new OneholdError("corrupt", "the image's first layer carries no ostree commit");
    const tree = layers.reduce((lower, layer) => overlay(lower, layer.ruled), this.#baseTree(base));
    const leftOut: LeftOut = { special: [], byRule: new Map() };
    for (const layer of layers) {
      leftOut.special.push(...layer.leftOut.special);
      for (const [top, count] of layer.leftOut.byRule) leftOut.byRule.set(top, (leftOut.byRule.get(top) ?? 0) + count);
    }
    const layerCommits = new Map([...nativeCommits, ...this.#commitLayers(layers)]);
    return { commit: this.#mergeCommit(dropBuildLeftovers(tree), base), leftOut, layerCommits };
  }

  #baseTree(base: Checksum): DirectoryNode {
    const tree = treeOfCommit(this.#readMetadata, base, this.#objects);
    for (const node of filesOf(tree)) {
      const checksum = this.#objects.get(node);
      if (checksum === undefined || !hasFileObject(this.#repository, this.#staging, checksum)) {
        throw new OneholdError("corrupt", `the image's ostree layers lack the file object ${checksum ?? "?"}`);
      }
    }
    return tree;
  }

  async #storeLayers(layers: readonly LayerToImport[], offset: number): Promise<LayerTree[]> {
    const trees: LayerTree[] = [];
    for (const [i, layer] of layers.entries()) {
      const tree = await this.#treeOf(layer, offset + i);
      const { tree: ruled, leftOut } = applyPathRules(tree, { ostreeBase: offset > 0 });
      const commit = this.#knownCommit(layer.digest);
      const known = commit !== undefined && adoptObjects(this.#readMetadata, commit, ruled, this.#objects);
      if (!known) await this.#store(batchFiles(filesOf(ruled), this.#environment(layer.files)));
      trees.push({ layer, tree, ruled, leftOut, known });
    }
    return trees;
  }

  /** Returns the commits of the layers that were new. */
  async #storeNativeLayers(layers: readonly LayerToImport[]): Promise<Map<Digest, Checksum>> {
    const commits = new Map<Digest, Checksum>();
    for (const [i, layer] of layers.entries()) {
      if (this.#knownCommit(layer.digest) !== undefined) continue;
      const native = collectNativeLayer(await this.#treeOf(layer, i), layer.files);
      for (const { checksum, type, bytes } of native.metadata) this.#put(checksum, type, bytes);
      const detail = (node: Parameters<typeof native.files.get>[0]) => {
        const found = native.files.get(node);
        if (found === undefined) throw new Error("a file of the layer is unknown");
        return found;
      };
      await this.#store(batchFiles(native.files.keys(), this.#environment(layer.files), detail));
      const commit = native.metadata.find((object) => object.type === "commit");
      commits.set(
        layer.digest,
        i === 0 && commit !== undefined
          ? commit.checksum
          : this.#objectSet([...native.files.values()].map((file) => file.expected)),
      );
    }
    return commits;
  }

  /** A chunk layer's commit, as ostree-ext makes it: a folder of its objects, each named by its checksum. */
  #objectSet(checksums: readonly Checksum[]): Checksum {
    const bytes = serializeDirtree({
      files: checksums.map((checksum) => ({ name: byteStringOfText(checksum), checksum })),
      directories: [],
    });
    const tree = checksumOf(bytes);
    this.#put(tree, "dirtree", bytes);
    return this.#commit({ tree, metadata: this.#serializer.dirmeta(plainDirectory) }, [], 0);
  }

  #commitLayers(layers: readonly LayerTree[]): Map<Digest, Checksum> {
    const commits = new Map<Digest, Checksum>();
    for (const { layer, ruled, known } of layers) {
      if (known) continue;
      commits.set(layer.digest, this.#commit(this.#serializer.serialize(ruled), [importer], 0));
    }
    return commits;
  }

  #mergeCommit(tree: DirectoryNode, parent: Checksum | undefined): Checksum {
    const { manifest, manifestDigest, config, created } = this.#image;
    const metadata: CommitMetadataEntry[] = [
      { key: "ostree.container.image-config", type: "s", value: canonicalJson(config) },
      importer,
      { key: "ostree.manifest", type: "s", value: canonicalJson(manifest) },
      { key: "ostree.manifest-digest", type: "s", value: manifestDigest },
    ];
    return this.#commit(this.#serializer.serialize(tree), metadata, created, parent);
  }

  #commit(
    root: DirectoryObjects,
    metadata: readonly CommitMetadataEntry[],
    timestamp: number,
    parent?: Checksum,
  ): Checksum {
    const bytes = serializeCommit({
      metadata,
      ...(parent === undefined ? {} : { parent }),
      subject: "",
      body: "",
      timestamp,
      tree: root.tree,
      treeMetadata: root.metadata,
    });
    const checksum = checksumOf(bytes);
    this.#put(checksum, "commit", bytes);
    return checksum;
  }

  /** The commit of a layer that the repository has, whole. */
  #knownCommit(digest: Digest): Checksum | undefined {
    const commit = readRef(this.#repository, blobRef(digest));
    return commit !== undefined && isWholeCommit(this.#repository, commit) ? commit : undefined;
  }

  async #treeOf(layer: LayerToImport, index: number): Promise<DirectoryNode> {
    const builder = new LayerTreeBuilder(index);
    for await (const entries of layer.entries()) {
      this.#options.signal?.throwIfAborted();
      for (const entry of entries) builder.add(entry);
    }
    return builder.finish(layer.impliedDirectory);
  }

  #environment(root: string): Omit<FileBatch, "files" | "metadata"> {
    return {
      root,
      objects: this.#objectsFolder,
      staging: this.#staging.path,
      policy: { method: this.#options.probe.method, allowCopy: this.#options.allowCopy },
      inheritsXattrs: this.#inheritsXattrs,
    };
  }

  /** Hands batches to the workers, a few at a time. */
  async #store(batches: Iterable<NodeBatch>): Promise<void> {
    for (const batch of batches) {
      this.#options.signal?.throwIfAborted();
      for (const file of batch.batch.files) this.#bytesTotal += file.size;
      while (this.#running.size >= this.#options.parallel) await Promise.race(this.#running);
      const running: Promise<void> = this.#storeBatch(batch).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  async #drain(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
  }

  async #storeBatch({ batch, nodes }: NodeBatch): Promise<void> {
    const stored = await this.#options.storeFiles(batch);
    for (const [i, { checksum, outcome }] of stored.entries()) {
      const node = nodes[i];
      const size = batch.files[i]?.size ?? 0;
      if (node === undefined) throw new Error("a worker answered for more files than it was given");
      this.#objects.set(node, checksum);
      this.#bytes += size;
      if (outcome === "refused") this.#refused.set(checksum, size);
      else if (outcome !== "symlink" && node.kind === "file") addTo(this.account[outcome], size);
    }
    this.#options.onBytes({ bytes: this.#bytes, bytesTotal: this.#bytesTotal });
  }

  #refuseIfCopying(): void {
    if (this.#refused.size === 0) return;
    let bytes = 0;
    for (const size of this.#refused.values()) bytes += size;
    const { reason } = this.#options.probe;
    throw new OneholdError(
      "cannot-share",
      `${this.#refused.size} ${this.#refused.size === 1 ? "file" : "files"} (${bytes} bytes) of ${this.#image.reference} can't be shared with the ostree repository${
        reason === "" ? "" : `: ${reason}`
      }; the repository is as it was`,
      {
        hint: `With --allow-copy they are copied, which takes ${bytes} bytes more on the disk.`,
        subject: this.#repository.path,
      },
    );
  }

  get #objectsFolder(): string {
    return path.join(this.#repository.path, "objects");
  }

  readonly #put: PutMetadata = (checksum, type, bytes) => {
    stageMetadataObject(this.#repository, this.#staging, checksum, type, bytes);
  };

  readonly #readMetadata: ReadMetadata = (checksum, type) =>
    readStaged(this.#repository, this.#staging, checksum, type);
}

interface LayerTree {
  readonly layer: LayerToImport;
  /** As unpacked. */
  readonly tree: DirectoryNode;
  /** By ostree's rules. */
  readonly ruled: DirectoryNode;
  readonly leftOut: LeftOut;
  /** The repository has the layer's commit already. */
  readonly known: boolean;
}
