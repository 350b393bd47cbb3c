import path from "node:path";
import { formatBytes } from "#base/amounts.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import { mergeLayers, overlay } from "#image/merge.ts";
import { type DirectoryNode, type FileNode, filesOf, type SymlinkNode } from "#image/tree.ts";
import { addTo, emptyAccount, type SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import { CommitWriter, type ImageDocuments } from "./commits.ts";
import { type FileObjectTarget, storeEmptyFile, type StoredFileObject } from "./file-objects.ts";
import { demandMinimumFree } from "./free-space.ts";
import { collectNativeLayer, corruptNativeLayer, type NativeLayer } from "./native-layers.ts";
import { applyPathRules, dropBuildLeftovers, type LeftOut } from "./path-rules.ts";
import { blobRef, imageRef, pinRef, readRef, writeRef } from "./refs.ts";
import { isWholeCommit, lockRepository, refuseUnsafeRepository, type Repository } from "./repository.ts";
import {
  inheritsXattrs,
  makeStaging,
  publishStaged,
  readStaged,
  sizeOfFileObject,
  stageDetachedMetadata,
  stageMetadataObject,
  type Staging,
} from "./staging.ts";
import {
  adoptObjects,
  type ObjectsOfNodes,
  type PutMetadata,
  type ReadMetadata,
  TreeSerializer,
  treeOfCommit,
} from "./trees.ts";

/** A layer of an image. */
export interface LayerToImport {
  /** The layer's digest in the manifest: its ref is named after it. */
  readonly digest: Digest;
  readonly diffId: Digest;
  /** The folder with the unpacked files. */
  readonly files: string;
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

export interface ImportOptions {
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

/** A file or symlink that shall be an object, as it shall be. */
export interface FileToImport {
  readonly metadata: FileMetadata;
  /** What the layer's own checksum demands, where it names its objects itself. */
  readonly expected?: Checksum;
}

/** The objects of a layer's files; they are in the repository for as long as the commit is. */
export interface LayerObjects {
  readonly commit: Checksum;
  readonly objects: ReadonlyMap<FileNode | SymlinkNode, Checksum>;
}

/** The same, to be remembered. */
export interface FinishedLayer {
  readonly commit: Checksum;
  readonly objectOf: (node: FileNode | SymlinkNode) => Checksum | undefined;
}

export interface ImportResult {
  readonly commit: Checksum;
  readonly account: SharingAccount;
  readonly leftOut: LeftOut;
  readonly layersImported: number;
  readonly layersPresent: number;
  readonly objectsPublished: number;
}

const whiteoutMark: FileMetadata = { uid: 0, gid: 0, mode: 0o100644, xattrs: [] };

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
  readonly #objects: ObjectsOfNodes = new Map();
  readonly #account = emptyAccount();
  readonly #refused = new Map<Checksum, number>();
  /** How many of the layers carry ostree objects; they come first. */
  readonly #native: number;
  readonly #layers: AddedLayer[] = [];
  /** Of the layers that were new. */
  readonly #layerCommits = new Map<Digest, Checksum>();
  #staged: { readonly commit: Checksum; readonly leftOut: LeftOut } | undefined;

  constructor(repository: Repository, lock: Disposable, image: ImageToImport, { probe, allowCopy }: ImportOptions) {
    this.#native = countNativeLayers(image);
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
    const makeWhiteout = () => storeEmptyFile(this.target, whiteoutMark);
    this.#commits = new CommitWriter(new TreeSerializer(this.#objects, this.#put, makeWhiteout), this.#put);
  }

  /** Whether the repository has a layer already. */
  hasLayer(index: number): boolean {
    const digest = this.#image.layers[index]?.digest;
    return digest !== undefined && this.#knownCommit(digest) !== undefined;
  }

  /**
   * The files of a layer that have to be read; none where the repository has the layer. `remembered`: the layer's
   * objects as `objectsOfLayer` told them of an earlier import. Layers may come in any order. Errors: `not-utf8`,
   * `corrupt`.
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
      this.#layers[index] = { native };
      return native.files;
    }
    const { tree: ruled, leftOut } = applyPathRules(tree, { ostreeBase: this.#native > 0 });
    const known = commit !== undefined && this.#adopt(commit, ruled, remembered);
    this.#layers[index] = { tree, ruled, leftOut, known };
    return known ? new Map() : new Map([...filesOf(ruled)].map((node) => [node, node]));
  }

  #adopt(commit: Checksum, ruled: DirectoryNode, remembered: LayerObjects | undefined): boolean {
    if (remembered?.commit !== commit) return adoptObjects(this.#readMetadata, commit, ruled, this.#objects);
    for (const [node, checksum] of remembered.objects) this.#objects.set(node, checksum);
    return true;
  }

  /** Which objects hold the files of a finished layer, to be remembered; `undefined` where it carries its own. */
  objectsOfLayer(index: number): FinishedLayer | undefined {
    const layer = this.#image.layers[index];
    const added = this.#layers[index];
    const commit = layer && (this.#layerCommits.get(layer.digest) ?? this.#knownCommit(layer.digest));
    if (commit === undefined || added === undefined || "native" in added) return undefined;
    return { commit, objectOf: (node) => this.#objects.get(node) };
  }

  /** What became of a file that `addLayer` asked for. */
  take(node: FileNode | SymlinkNode, { checksum, outcome }: StoredFileObject): void {
    this.#objects.set(node, checksum);
    if (node.kind !== "file" || outcome === "symlink") return;
    if (outcome === "refused") this.#refused.set(checksum, node.size);
    else if (node.size > 0) addTo(this.#account[outcome], node.size);
  }

  /** Every file of a layer was taken: its commit can be written while others are still being read. */
  finishLayer(index: number): void {
    const layer = this.#image.layers[index];
    const added = this.#layers[index];
    if (layer === undefined || added === undefined) return;
    if ("native" in added) {
      const { native } = added;
      this.#layerCommits.set(layer.digest, index === 0 ? this.#storeBaseCommit(native) : this.#storeObjectSet(native));
    } else if (!added.known) this.#layerCommits.set(layer.digest, this.#commits.layer(added.ruled));
  }

  /** Writes the image's commit, still to be published. Errors: `cannot-share`, `corrupt`. */
  stage(): void {
    this.#refuseCopies();
    this.#staged = this.#native > 0 ? this.#commitOverBase() : this.#commitPlain();
  }

  /** Moves the objects to their place; on return they are on disk. */
  publish(): { readonly published: number } {
    return publishStaged(this.#repository, this.#staging);
  }

  /** Writes the refs, the image's last. */
  writeRefs(published: number): ImportResult {
    if (this.#staged === undefined) throw new Error("nothing was staged");
    const { commit, leftOut } = this.#staged;
    const { layers, pinned, manifestDigest, reference } = this.#image;
    for (const [digest, layerCommit] of this.#layerCommits) writeRef(this.#repository, blobRef(digest), layerCommit);
    if (pinned) writeRef(this.#repository, pinRef(manifestDigest), commit);
    writeRef(this.#repository, imageRef(reference), commit);
    return {
      commit,
      leftOut,
      account: this.#account,
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

  /** A plain image: its layers are laid over each other first, then ostree's rules are applied. */
  #commitPlain(): { commit: Checksum; leftOut: LeftOut } {
    const merged = mergeLayers(
      this.#plainLayers().map((layer) => layer.tree),
      "as-unpacked",
    );
    const { tree, leftOut } = applyPathRules(merged, { ostreeBase: false });
    return { commit: this.#commits.merge(dropBuildLeftovers(tree), this.#image, undefined), leftOut };
  }

  /** An image built on an ostree commit, which has those rules behind it already. */
  #commitOverBase(): { commit: Checksum; leftOut: LeftOut } {
    const digest = this.#image.layers[0]?.digest;
    const base = digest && (this.#layerCommits.get(digest) ?? readRef(this.#repository, blobRef(digest)));
    if (base === undefined) throw new Error("the first layer has no commit");
    const layers = this.#plainLayers();
    const tree = layers.reduce((lower, layer) => overlay(lower, layer.ruled, "as-listed"), this.#baseTree(base));
    const leftOut: LeftOut = { special: [], byRule: new Map() };
    for (const layer of layers) {
      leftOut.special.push(...layer.leftOut.special);
      for (const [top, count] of layer.leftOut.byRule) leftOut.byRule.set(top, (leftOut.byRule.get(top) ?? 0) + count);
    }
    return { commit: this.#commits.merge(dropBuildLeftovers(tree), this.#image, base), leftOut };
  }

  #plainLayers(): PlainLayer[] {
    return this.#layers.slice(this.#native).filter((layer) => "tree" in layer);
  }

  #baseTree(base: Checksum): DirectoryNode {
    const sizeOf = (checksum: Checksum) => sizeOfFileObject(this.#repository, this.#staging, checksum);
    return treeOfCommit({ read: this.#readMetadata, sizeOf }, base, this.#objects);
  }

  #refuseCopies(): void {
    if (this.#refused.size === 0) return;
    let bytes = 0;
    for (const size of this.#refused.values()) bytes += size;
    const files = `${this.#refused.size} ${this.#refused.size === 1 ? "file" : "files"} (${formatBytes(bytes)})`;
    const { reference } = this.#image;
    const { reason } = this.#probe;
    throw new OneholdError(
      "cannot-share",
      `${files} of ${reference} can't be shared with the ostree repository${reason === "" ? "" : `: ${reason}`}; the repository is as it was`,
      {
        subject: reference,
        hint: `With --allow-copy they are copied, which takes ${formatBytes(bytes)} (${bytes} bytes) more on the disk.`,
      },
    );
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

  /** The commit of a layer that the repository has, whole. */
  #knownCommit(digest: Digest): Checksum | undefined {
    const commit = readRef(this.#repository, blobRef(digest));
    return commit !== undefined && isWholeCommit(this.#repository, commit) ? commit : undefined;
  }

  readonly #put: PutMetadata = (checksum, type, bytes) => {
    stageMetadataObject(this.#repository, this.#staging, checksum, type, bytes);
  };

  readonly #readMetadata: ReadMetadata = (checksum, type) =>
    readStaged(this.#repository, this.#staging, checksum, type);
}

/** Of an image built on an ostree commit, the first ones are native. */
type AddedLayer = PlainLayer | { readonly native: NativeLayer };

interface PlainLayer {
  /** As unpacked. */
  readonly tree: DirectoryNode;
  /** By ostree's rules. */
  readonly ruled: DirectoryNode;
  readonly leftOut: LeftOut;
  /** The repository has the layer's commit already. */
  readonly known: boolean;
}

function countNativeLayers({ layers, finalDiffId }: ImageToImport): number {
  if (finalDiffId === undefined) return 0;
  const last = layers.findIndex((layer) => layer.diffId === finalDiffId);
  if (last >= 0) return last + 1;
  throw new OneholdError("corrupt", `label ostree.final-diffid names ${finalDiffId}, which is no layer of the image`);
}
