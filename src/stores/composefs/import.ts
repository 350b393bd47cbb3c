import type { ByteString } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { type FileContent, type LayerStreamEntry, layerStreamEntries } from "#formats/splitstream-layer.ts";
import { mergeLayers } from "#image/merge.ts";
import { withComposefsLabels } from "#image/selinux-labels.ts";
import { composefsPolicy, type ReadFile } from "#image/selinux-policy.ts";
import { type DirectoryNode, type FileNode, filesOf } from "#image/tree.ts";
import { addTo, emptyAccount, type SharingAccount } from "#sharing/account.ts";
import { demandShared } from "#sharing/demand-shared.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import { applyBootRules, applyImageRules } from "./image-rules.ts";
import { composefsTree } from "./image-tree.ts";
import { lockRepository } from "./lock.ts";
import { type ErofsOfImage, erofsName, publishImage, publishLayers } from "./oci-images.ts";
import type { Repository } from "./repository.ts";
import { makeStaging, stageObject, type Staging, targetOf } from "./staging.ts";
import type { ObjectOutcome, ObjectPolicy, ObjectTarget } from "./store-object.ts";
import { findLayerStream, readStream } from "./streams.ts";

export interface ImageToImport {
  /** As received. */
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** Of each layer, base first. */
  readonly diffIds: readonly Digest[];
  /** Roots: an image without a tag goes with the next sweep. */
  readonly tags: readonly string[];
}

export interface ImportOptions {
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
  /** See ObjectPolicy. */
  readonly sealSources: boolean;
  /** Reads a file of a layer. */
  readonly readFile: ReadFile;
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

/** What became of a file's content. */
export type StoredContent =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | { readonly kind: "object"; readonly id: ObjectId; readonly outcome: ObjectOutcome };

export interface ImportResult {
  readonly account: SharingAccount;
  readonly layersImported: number;
  readonly layersPresent: number;
  /** Of the tree, by their names in the config's stream. */
  readonly images: Readonly<Record<string, ObjectId>>;
  /** Why there is no image of the tree, or none to boot. */
  readonly refused: readonly OneholdError[];
}

/** Waits for the repository's lock, which is held until the import is disposed of. */
export async function beginImport(
  repository: Repository,
  image: ImageToImport,
  options: ImportOptions,
): Promise<ComposefsImport> {
  const lock = await lockRepository(repository, "shared", {
    ...(options.onWait ? { onWait: options.onWait } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  try {
    return new ComposefsImport(repository, lock, image, options);
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

/**
 * Gives an image to the composefs repository as composefs-rs would have pulled it, with the content of its files shared:
 * an object for each file of more than 64 bytes, a stream for each layer, EROFS images of the tree (as it is, and as
 * it boots), streams of the config and the manifest, tags. The caller has the layers' files read and their streams
 * made. Until it is published, the repository is as it was.
 */
export class ComposefsImport implements Disposable {
  readonly target: ObjectTarget;
  readonly policy: ObjectPolicy;
  readonly #repository: Repository;
  readonly #lock: Disposable;
  readonly #staging: Staging;
  readonly #image: ImageToImport;
  readonly #options: ImportOptions;
  readonly #account = emptyAccount();
  readonly #refused = new Map<ObjectId, number>();
  readonly #contents: Map<ByteString, Map<ByteString, FileContent>>[] = [];
  readonly #trees: DirectoryNode[] = [];
  readonly #streams: (ObjectId | undefined)[] = [];
  #imported = 0;
  readonly #erofs: ErofsOfImage[] = [];
  readonly #failures: OneholdError[] = [];

  constructor(repository: Repository, lock: Disposable, image: ImageToImport, options: ImportOptions) {
    this.#repository = repository;
    this.#lock = lock;
    this.#image = image;
    this.#options = options;
    for (const [i, diffId] of image.diffIds.entries()) this.#streams[i] = findLayerStream(repository, diffId);
    this.#staging = makeStaging(repository);
    this.target = targetOf(repository, this.#staging);
    this.policy = { method: options.probe.method, allowCopy: options.allowCopy, sealSources: options.sealSources };
  }

  /** Whether the repository has a layer's stream, and all its objects. */
  hasLayer(index: number): boolean {
    return this.#streams[index] !== undefined;
  }

  /** The members of a layer, with what they hold, where the repository has it. */
  knownLayer(index: number): AsyncIterable<readonly LayerStreamEntry[]> | undefined {
    const stream = this.#streams[index];
    return stream && layerStreamEntries(readStream(this.#repository, stream));
  }

  /** The files of a layer that have to be read; none where `known` tells of all. */
  addLayer(index: number, tree: DirectoryNode, known?: ReadonlyMap<FileNode, FileContent>): FileNode[] {
    this.#trees[index] = tree;
    this.#contents[index] = new Map();
    if (known === undefined)
      return [...filesOf(tree)].filter((node) => node.kind === "file" && node.size > 0) as FileNode[];
    for (const [node, content] of known) this.#remember(node, content);
    return [];
  }

  /** What became of a file that `addLayer` asked for. */
  take(node: FileNode, stored: StoredContent): void {
    if (stored.kind === "inline") {
      this.#remember(node, stored);
      return;
    }
    const { id, outcome } = stored;
    this.#remember(node, { kind: "object", id });
    if (outcome === "refused") this.#refused.set(id, node.size);
    else addTo(this.#account[outcome], node.size);
  }

  contentOf(file: FileNode): FileContent | undefined {
    return this.#contents[file.layer]?.get(file.folder)?.get(file.name);
  }

  /** Where the workers that make streams put them. */
  get place(): { readonly repository: Repository; readonly staging: string } {
    return { repository: this.#repository, staging: this.#staging.path };
  }

  /** A layer's stream, made from its tar headers and the contents of its files, was staged. */
  takeStream(index: number, stream: ObjectId): void {
    this.#streams[index] = stream;
    this.#imported++;
  }

  /** A layer can't have a stream, so that the image can't be here; the other layers can. */
  takeRefusal(why: OneholdError): void {
    this.#failures.push(why);
  }

  /** Makes the images, still to be published. Errors: `cannot-share`. */
  stage(): void {
    this.#refuseCopies();
    if (this.#failures.length > 0) return;
    for (const { bytes, ...image } of this.#makeImages()) {
      this.#erofs.push({ ...image, id: stageObject(this.#repository, this.#staging, bytes) });
    }
  }

  /** Those that the image's tree can have. What keeps it from others is the image's own, and no failure of the import. */
  #makeImages(): MadeErofs[] {
    const contentOf = (file: FileNode) => this.contentOf(file);
    const made: MadeErofs[] = [];
    const make = (tree: DirectoryNode, boot: boolean) => {
      const { format, extraFormats } = this.#repository.meta;
      const image = composefsTree(tree, contentOf);
      for (const each of [format, ...extraFormats])
        made.push({ bytes: writeErofs(image, { format: each }), format: each, boot });
    };
    try {
      const tree = applyImageRules(mergeLayers(this.#trees, "as-listed"));
      make(tree, false);
      const boots = applyBootRules(tree);
      // The policy is read where it is, before what composefs-rs empties is empty: none of it is there.
      const policy = composefsPolicy(tree, this.#options.readFile);
      make(withComposefsLabels(boots, "none" in policy ? undefined : policy), true);
    } catch (error) {
      if (!(error instanceof OneholdError) || (error.code !== "unsupported" && error.code !== "corrupt")) throw error;
      this.#failures.push(error);
    }
    return made;
  }

  /** On return the image is there, and on the disk. */
  async publish(): Promise<ImportResult> {
    const { manifest, config, diffIds, tags } = this.#image;
    const layers = diffIds.flatMap((diffId, i) => {
      const stream = this.#streams[i];
      return stream === undefined ? [] : [{ diffId, stream }];
    });
    if (layers.length < diffIds.length) publishLayers(this.#repository, this.#staging, layers);
    else await publishImage(this.#repository, this.#staging, { manifest, config, layers, erofs: this.#erofs, tags });
    return {
      account: this.#account,
      layersImported: this.#imported,
      layersPresent: diffIds.length - this.#imported,
      images: Object.fromEntries(this.#erofs.map((image) => [erofsName(image), image.id])),
      refused: this.#failures,
    };
  }

  /** Nobody may write into the staging folder any more. */
  [Symbol.dispose](): void {
    this.#staging[Symbol.dispose]();
    this.#lock[Symbol.dispose]();
  }

  #remember({ layer, folder, name }: FileNode, content: FileContent): void {
    const ofLayer = this.#contents[layer];
    if (ofLayer === undefined) throw new Error(`layer ${layer} was not added`);
    let ofFolder = ofLayer.get(folder);
    if (ofFolder === undefined) {
      ofFolder = new Map<ByteString, FileContent>();
      ofLayer.set(folder, ofFolder);
    }
    ofFolder.set(name, content);
  }

  /** What else there is to do than copying. */
  #sealing(): string {
    return this.target.secure && this.policy.method === "hardlink" && !this.policy.sealSources
      ? "With --allow-verity files of the image store get fs-verity and are hardlinked: they can't be changed any more. "
      : "";
  }

  #refuseCopies(): void {
    const { reason } = this.#options.probe;
    demandShared(this.#refused, { of: undefined, store: "composefs", reason, otherWay: this.#sealing() });
  }
}

type MadeErofs = Omit<ErofsOfImage, "id"> & { readonly bytes: Buffer };
