import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import type { TarEntry } from "#formats/tar.ts";
import { type ImpliedDirectory, LayerTreeBuilder } from "#image/layer-tree.ts";
import { mergeLayers, overlay } from "#image/merge.ts";
import type { DirectoryNode } from "#image/tree.ts";
import type { SharingAccount } from "#sharing/account.ts";
import { batchFiles, filesOf } from "./batches.ts";
import { CommitWriter, type ImageDocuments } from "./commits.ts";
import { storeEmptyFile } from "./file-objects.ts";
import { FileStore, type FileStoreOptions } from "./file-store.ts";
import { demandMinimumFree } from "./free-space.ts";
import { collectNativeLayer, corruptNativeLayer, type NativeLayer } from "./native-layers.ts";
import { applyPathRules, dropBuildLeftovers, type LeftOut } from "./path-rules.ts";
import { blobRef, imageRef, pinRef, readRef, writeRef } from "./refs.ts";
import { isWholeCommit, lockRepository, refuseUnsafeRepository, type Repository } from "./repository.ts";
import {
  makeStaging,
  publishStaged,
  readStaged,
  sizeOfFileObject,
  stageDetachedMetadata,
  stageMetadataObject,
  type Staging,
} from "./staging.ts";
import { adoptObjects, type PutMetadata, type ReadMetadata, TreeSerializer, treeOfCommit } from "./trees.ts";

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

export interface ImageToImport extends ImageDocuments {
  /** As ostree-ext prints it: `docker://host/name:tag`. */
  readonly reference: string;
  readonly layers: readonly LayerToImport[];
  /** Label `ostree.final-diffid`: the last layer that carries ostree objects. */
  readonly finalDiffId?: Digest;
  /** Also protect the commit from bootc's clean-up. */
  readonly pinned: boolean;
}

export interface ImportOptions extends FileStoreOptions {
  /** Called when a stage is reached, by its name; a hook for the journal (and for tests that kill there). */
  readonly onStage: (stage: ImportStage) => void;
  readonly onWait?: () => void;
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
    account: importing.files.account,
    layersImported: layerCommits.size,
    layersPresent: image.layers.length - layerCommits.size,
    objectsPublished: published,
  };
}

const whiteoutMark: FileMetadata = { uid: 0, gid: 0, mode: 0o100644, xattrs: [] };

class Importing {
  readonly files: FileStore;
  readonly #repository: Repository;
  readonly #staging: Staging;
  readonly #image: ImageToImport;
  readonly #options: ImportOptions;
  readonly #commits: CommitWriter;

  constructor(repository: Repository, staging: Staging, image: ImageToImport, options: ImportOptions) {
    this.#repository = repository;
    this.#staging = staging;
    this.#image = image;
    this.#options = options;
    this.files = new FileStore(repository, staging, options);
    const makeWhiteout = () => storeEmptyFile(this.files.folders, whiteoutMark);
    this.#commits = new CommitWriter(new TreeSerializer(this.files.objects, this.#put, makeWhiteout), this.#put);
  }

  async run(): Promise<Imported> {
    this.#options.onStage("sharing");
    const { layers, reference } = this.#image;
    const native = this.#countNativeLayers();
    try {
      const nativeCommits = await this.#storeNativeLayers(layers.slice(0, native));
      const trees = await this.#storeLayers(layers.slice(native), native);
      await this.files.finish();
      this.files.refuseCopies(reference);
      const [base] = layers;
      return native > 0 && base !== undefined
        ? this.#commitOverBase(trees, nativeCommits, base.digest)
        : this.#commitPlain(trees);
    } finally {
      // Workers must not go on writing into a staging folder that is being removed.
      await this.files.settle();
    }
  }

  /** How many of the layers carry ostree objects; they come first. */
  #countNativeLayers(): number {
    const { layers, finalDiffId } = this.#image;
    if (finalDiffId === undefined) return 0;
    const last = layers.findIndex((layer) => layer.diffId === finalDiffId);
    if (last >= 0) return last + 1;
    throw new OneholdError("corrupt", `label ostree.final-diffid names ${finalDiffId}, which is no layer of the image`);
  }

  /** A plain image: its layers are laid over each other first, then ostree's rules are applied. */
  #commitPlain(layers: readonly LayerTree[]): Imported {
    const { tree, leftOut } = applyPathRules(mergeLayers(layers.map((layer) => layer.tree)), { ostreeBase: false });
    const layerCommits = this.#commitLayers(layers);
    return { commit: this.#commits.merge(dropBuildLeftovers(tree), this.#image, undefined), leftOut, layerCommits };
  }

  /** An image built on an ostree commit, which has those rules behind it already. */
  #commitOverBase(
    layers: readonly LayerTree[],
    nativeCommits: ReadonlyMap<Digest, Checksum>,
    baseDigest: Digest,
  ): Imported {
    const base = nativeCommits.get(baseDigest) ?? readRef(this.#repository, blobRef(baseDigest));
    if (base === undefined) throw new Error("the first layer has no commit");
    const tree = layers.reduce((lower, layer) => overlay(lower, layer.ruled), this.#baseTree(base));
    const leftOut: LeftOut = { special: [], byRule: new Map() };
    for (const layer of layers) {
      leftOut.special.push(...layer.leftOut.special);
      for (const [top, count] of layer.leftOut.byRule) leftOut.byRule.set(top, (leftOut.byRule.get(top) ?? 0) + count);
    }
    const layerCommits = new Map([...nativeCommits, ...this.#commitLayers(layers)]);
    return { commit: this.#commits.merge(dropBuildLeftovers(tree), this.#image, base), leftOut, layerCommits };
  }

  #baseTree(base: Checksum): DirectoryNode {
    const sizeOf = (checksum: Checksum) => sizeOfFileObject(this.#repository, this.#staging, checksum);
    return treeOfCommit({ read: this.#readMetadata, sizeOf }, base, this.files.objects);
  }

  async #storeLayers(layers: readonly LayerToImport[], offset: number): Promise<LayerTree[]> {
    const trees: LayerTree[] = [];
    for (const [i, layer] of layers.entries()) {
      const tree = await this.#treeOf(layer, offset + i);
      const { tree: ruled, leftOut } = applyPathRules(tree, { ostreeBase: offset > 0 });
      const commit = this.#knownCommit(layer.digest);
      const known = commit !== undefined && adoptObjects(this.#readMetadata, commit, ruled, this.files.objects);
      if (!known) await this.files.store(batchFiles(filesOf(ruled), this.files.environment(layer.files)));
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
      await this.files.store(batchFiles(native.files.keys(), this.files.environment(layer.files), detail));
      commits.set(layer.digest, i === 0 ? this.#storeBaseCommit(native) : this.#storeObjectSet(native));
    }
    return commits;
  }

  /** The first layer's ref is at the commit that the image is built on. */
  #storeBaseCommit({ commits, detached }: NativeLayer): Checksum {
    const [commit, ...others] = commits;
    if (commit === undefined || others.length > 0) {
      throw corruptNativeLayer(`the first layer has ${commits.length} commits, not one`);
    }
    const { checksum, bytes } = commit;
    this.#put(checksum, "commit", bytes);
    const beside = detached.get(checksum);
    if (beside !== undefined) stageDetachedMetadata(this.#staging, checksum, beside);
    return checksum;
  }

  /** A stray commit, its tree missing perhaps, would make every prune of the repository fail. */
  #storeObjectSet({ commits, files }: NativeLayer): Checksum {
    if (commits.length > 0) throw corruptNativeLayer("there is a commit in another layer than the first");
    return this.#commits.objectSet([...files.values()].map((file) => file.expected));
  }

  #commitLayers(layers: readonly LayerTree[]): Map<Digest, Checksum> {
    const commits = new Map<Digest, Checksum>();
    for (const { layer, ruled, known } of layers) if (!known) commits.set(layer.digest, this.#commits.layer(ruled));
    return commits;
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

  readonly #put: PutMetadata = (checksum, type, bytes) => {
    stageMetadataObject(this.#repository, this.#staging, checksum, type, bytes);
  };

  readonly #readMetadata: ReadMetadata = (checksum, type) =>
    readStaged(this.#repository, this.#staging, checksum, type);
}

/** What the staging folder holds when everything is shared. */
interface Imported {
  readonly commit: Checksum;
  readonly leftOut: LeftOut;
  /** Of the layers that were new. */
  readonly layerCommits: ReadonlyMap<Digest, Checksum>;
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
