import path from "node:path";
import type { Digest } from "#base/digest.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import { treeOfCommit } from "./commit-tree.ts";
import { CommitWriter } from "./commits.ts";
import { type FileObjectTarget, storeEmptyFile, type StoredFileObject } from "./file-objects.ts";
import { demandMinimumFree } from "./free-space.ts";
import type { FilesToRead, ImageToImport, ImportOptions, ImportResult } from "./image-to-import.ts";
import { ImageLabels, sightOfPolicy } from "./image-labels.ts";
import { type FinishedLayer, type KnownObjects, labelledFiles, type LayerObjects } from "./labelled-layers.ts";
import { mergeOver, mergePlain, type MergedTree } from "./merging.ts";
import { collectNativeLayer, commitIn, countNativeLayers, demandNoCommit, type NativeLayer } from "./native-layers.ts";
import { dropBuildLeftovers } from "./path-rules.ts";
import { PlainLayer } from "./plain-layer.ts";
import { blobRef, imageRef, pinRef, readRef, writeRef } from "./refs.ts";
import { isWholeCommit, lockRepository, objectFile, refuseUnsafeRepository, type Repository } from "./repository.ts";
import {
  findFileObject,
  inheritsXattrs,
  makeStaging,
  publishStaged,
  readStaged,
  stageDetachedMetadata,
  stageMetadataObject,
  type Staging,
} from "./staging.ts";
import { type PutMetadata, type ReadMetadata, TreeSerializer } from "./trees.ts";
import { type FilesToImport, type FileToImport, WantedObjects } from "./wanted-objects.ts";

/** Waits for the repository's lock, which is held until the import is disposed of. */
export async function beginImport(
  repository: Repository,
  image: ImageToImport,
  options: ImportOptions,
): Promise<OstreeImport> {
  refuseUnsafeRepository(repository);
  demandMinimumFree(repository);
  const lock = await lockRepository(repository, {
    ...(options.onWait ? { onWait: options.onWait } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  try {
    return new OstreeImport(repository, lock, image, options);
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

/**
 * Gives an image to the ostree repository, as ostree-ext would have imported it, but with the content of its
 * files shared: a commit for each layer, the merge commit, and the refs that protect them. The caller has the
 * layers' files read. All or nothing: until `publish` the repository is as it was.
 */
export class OstreeImport implements Disposable {
  readonly target: FileObjectTarget;
  readonly #repository: Repository;
  readonly #lock: Disposable;
  readonly #staging: Staging;
  readonly #image: ImageToImport;
  readonly #probe: ProbeResult;
  readonly #commits: CommitWriter;
  readonly #wanted = new WantedObjects();
  /** How many of the layers carry ostree objects; they come first. */
  readonly #native: number;
  readonly #layers: AddedLayer[] = [];
  /** Of the layers that were new, or have other labels now. */
  readonly #layerCommits = new Map<Digest, Checksum>();
  readonly #labels: ImageLabels;
  #merged: (MergedTree & { readonly parent: Checksum | undefined }) | undefined;
  #commit: Checksum | undefined;

  constructor(repository: Repository, lock: Disposable, image: ImageToImport, { probe, allowCopy }: ImportOptions) {
    this.#native = countNativeLayers(image.layers, image.finalDiffId);
    this.#repository = repository;
    this.#lock = lock;
    this.#image = image;
    this.#probe = probe;
    this.#staging = makeStaging(repository);
    this.target = {
      objects: path.join(repository.path, "objects"),
      staging: this.#staging.path,
      policy: { method: probe.method, allowCopy },
      inheritsXattrs: inheritsXattrs(this.#staging),
    };
    const makeEmpty = (metadata: FileMetadata) => storeEmptyFile(this.target, metadata);
    this.#commits = new CommitWriter(new TreeSerializer(this.#wanted.objects, this.#put, makeEmpty), this.#put);
    this.#labels = new ImageLabels((file) => this.#folderOf(file));
  }

  /** Whether the repository has a layer already. */
  hasLayer(index: number): boolean {
    const digest = this.#image.layers[index]?.digest;
    return digest !== undefined && this.#knownCommit(digest) !== undefined;
  }

  /** The layers that seem to have something of the image's SELinux policy, base first; none where there is nothing to label. */
  layersWithPolicy(): number[] {
    if (!this.#mayRelabel()) return [];
    const sights = this.#image.layers.map(({ files }) => sightOfPolicy(files));
    // Without its config there is none, though programs leave files where it would be.
    if (!sights.includes("config")) return [];
    return sights.flatMap((sight, i) => (sight === undefined ? [] : [i]));
  }

  /** Tells what layers are to be labelled by as they are added: the trees of `layersWithPolicy`. */
  guessPolicy(trees: readonly DirectoryNode[]): void {
    this.#labels.guess(trees);
  }

  /**
   * The files of a layer that have to be read; none where the repository has the layer with the right labels.
   * `remembered`: what `finishLayer` told of it in an earlier import. Layers may come in any order. Errors:
   * `not-utf8`, `corrupt`.
   */
  addLayer(
    index: number,
    tree: DirectoryNode,
    remembered?: LayerObjects,
  ): ReadonlyMap<FileNode | SymlinkNode, FileToImport> {
    const layer = this.#image.layers[index];
    if (layer === undefined) throw new Error(`the image has no layer ${index}`);
    const commit = this.#knownCommit(layer.digest);
    if (index < this.#native) {
      if (commit !== undefined) return new Map();
      const native = collectNativeLayer(tree, layer.files);
      for (const { checksum, type, bytes } of native.metadata) this.#put(checksum, type, bytes);
      this.#layers[index] = { native, finished: undefined };
      return native.files;
    }
    const added = new PlainLayer(layer.digest, tree, { commit, remembered }, { ostreeBase: this.#native > 0 });
    this.#layers[index] = added;
    added.label(this.#labels, this.#known, this.#wanted.objects);
    const files: FilesToImport = new Map();
    for (const [node, labelled] of labelledFiles(added)) this.#wanted.ask(files, node, labelled);
    return files;
  }

  /** What became of a file that `addLayer` or `label` asked for. */
  take(node: FileNode | SymlinkNode, stored: StoredFileObject): void {
    this.#wanted.take(node, stored);
  }

  /**
   * Every file of a layer was taken: its commit can be written, even while others are still being read. Returns which
   * objects hold the files, to be remembered; none where that is known, or the labels are not final: then it is to be
   * called again after `label`.
   */
  finishLayer(index: number): FinishedLayer | undefined {
    const layer = this.#image.layers[index];
    const added = this.#layers[index];
    if (layer === undefined || added === undefined || added.finished !== undefined) return undefined;
    if (!(added instanceof PlainLayer)) {
      added.finished = index === 0 ? this.#storeBaseCommit(added.native) : this.#storeObjectSet(added.native);
      this.#layerCommits.set(layer.digest, added.finished);
      return undefined;
    }
    if (!this.#labels.areFinal) return undefined;
    added.finished = added.earlierCommit(this.#known, this.#commits);
    if (added.finished === undefined) {
      added.finished = this.#commits.layer(added.labelled);
      this.#layerCommits.set(layer.digest, added.finished);
    }
    return added.toRemember(this.#wanted.objects);
  }

  /** All layers are there: lays them over each other. @throws "corrupt" where the commit that they stand on is not whole */
  merge(): void {
    if (this.#native === 0) {
      this.#merged = { ...mergePlain(this.#plainLayers()), parent: undefined };
      return;
    }
    // Objects of the commit may be missing for that reason.
    this.#demandShared();
    const digest = this.#image.layers[0]?.digest;
    const parent = digest && (this.#layerCommits.get(digest) ?? readRef(this.#repository, blobRef(digest)));
    if (parent === undefined) throw new Error("the first layer has no commit");
    const source = {
      read: this.#readMetadata,
      root: this.#repository.path,
      find: (checksum: Checksum) => findFileObject(this.#repository, this.#staging, checksum),
    };
    const base = treeOfCommit(source, parent, this.#wanted.objects);
    this.#merged = { ...mergeOver(base, this.#plainLayers()), parent };
  }

  /**
   * Decides by which policy the merged tree is labelled. Returns the files that have another label than was guessed: to
   * be read before `stage`. @throws OneholdError where the image's policy can't be used
   */
  label(): FilesToRead[] {
    if (this.#merged === undefined) throw new Error("nothing was merged");
    const { tree } = this.#merged;
    this.#labels.decide(this.#mayRelabel() ? tree : undefined);
    this.#relabelLayers();
    const wanted = dropBuildLeftovers(tree);
    const labelled = this.#labels.label(wanted);
    this.#merged = { ...this.#merged, tree: labelled };
    const folders = new Map<string, FilesToImport>();
    for (const layer of [...this.#plainLayers(), { plain: wanted, labelled }]) {
      for (const [node, after] of labelledFiles(layer)) {
        const root = this.#folderOf(node);
        let files = folders.get(root);
        if (files === undefined) folders.set(root, (files = new Map()));
        this.#wanted.ask(files, node, after);
      }
    }
    return [...folders].flatMap(([root, files]) => (files.size === 0 ? [] : [{ root, files }]));
  }

  /** Writes the image's commit, still to be published. Errors: `cannot-share`. */
  stage(): void {
    if (this.#merged === undefined) throw new Error("nothing was merged");
    this.#demandShared();
    this.#commit = this.#commits.merge(this.#merged.tree, this.#image, this.#merged.parent);
  }

  /** Moves the objects to their place; on return they are on disk. */
  publish(): { readonly published: number } {
    return publishStaged(this.#repository, this.#staging);
  }

  /** Writes the refs, the image's last. */
  writeRefs(published: number): ImportResult {
    const commit = this.#commit;
    if (commit === undefined || this.#merged === undefined) throw new Error("nothing was staged");
    const { layers, pinned, manifestDigest, reference } = this.#image;
    for (const [digest, layerCommit] of this.#layerCommits) writeRef(this.#repository, blobRef(digest), layerCommit);
    if (pinned) writeRef(this.#repository, pinRef(manifestDigest), commit);
    writeRef(this.#repository, imageRef(reference), commit);
    return {
      commit,
      leftOut: this.#merged.leftOut,
      account: this.#wanted.account,
      layersImported: this.#layerCommits.size,
      layersPresent: layers.length - this.#layerCommits.size,
      objectsPublished: published,
    };
  }

  /** Nobody may write into the staging folder any more. */
  [Symbol.dispose](): void {
    this.#staging[Symbol.dispose]();
    this.#lock[Symbol.dispose]();
  }

  #plainLayers(): PlainLayer[] {
    return this.#layers.slice(this.#native).filter((layer) => layer instanceof PlainLayer);
  }

  /** A commit that an image consists of has the labels that it has. */
  #mayRelabel(): boolean {
    return this.#native < this.#image.layers.length;
  }

  /** Where the guess was wrong. */
  #relabelLayers(): void {
    const wrong = this.#plainLayers().filter((layer) => layer.policy !== this.#labels.policy);
    if (wrong.length === 0) return;
    this.#wanted.forgetRefused();
    for (const layer of wrong) {
      layer.label(this.#labels, this.#known, this.#wanted.objects);
      this.#layerCommits.delete(layer.digest);
    }
  }

  /** Where the file's content is. */
  #folderOf(node: FileNode | SymlinkNode): string {
    const layer = node.kind === "file" ? this.#image.layers[node.layer] : undefined;
    return layer?.files ?? this.#repository.path;
  }

  #demandShared(): void {
    this.#wanted.demandShared(this.#image.reference, this.#probe.reason);
  }

  /** The first layer's ref is at the commit that the image is built on. */
  #storeBaseCommit(native: NativeLayer): Checksum {
    const { checksum, bytes, detached } = commitIn(native);
    this.#put(checksum, "commit", bytes);
    if (detached !== undefined) stageDetachedMetadata(this.#staging, checksum, detached);
    return checksum;
  }

  #storeObjectSet(native: NativeLayer): Checksum {
    demandNoCommit(native);
    return this.#commits.objectSet([...native.files.values()].map((file) => file.expected));
  }

  /** The commit of a layer that the repository has, whole. */
  #knownCommit(digest: Digest): Checksum | undefined {
    const commit = readRef(this.#repository, blobRef(digest));
    return commit !== undefined && isWholeCommit(this.#repository, commit) ? commit : undefined;
  }

  readonly #put: PutMetadata = (checksum, type, bytes) => {
    stageMetadataObject(this.#repository, this.#staging, checksum, type, bytes);
  };

  /** What the repository has. */
  get #known(): KnownObjects {
    return {
      read: this.#readMetadata,
      fileOf: (checksum) => objectFile(this.#repository, checksum, "file"),
      inheritsXattrs: this.target.inheritsXattrs,
    };
  }

  readonly #readMetadata: ReadMetadata = (checksum, type) =>
    readStaged(this.#repository, this.#staging, checksum, type);
}

/** Of an image built on an ostree commit, the first ones are native. */
type AddedLayer = PlainLayer | { readonly native: NativeLayer; finished: Checksum | undefined };
