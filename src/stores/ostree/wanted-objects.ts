import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import type { FileNode, SymlinkNode } from "#image/tree.ts";
import { addTo, emptyAccount } from "#sharing/account.ts";
import { demandShared } from "#sharing/demand-shared.ts";
import type { StoredFileObject } from "./file-objects.ts";
import type { ObjectsOfNodes } from "./trees.ts";
import { isWhiteoutFile } from "./whiteout-files.ts";

/** A file or symlink that shall be an object, as it shall be. */
export interface FileToImport {
  readonly metadata: FileMetadata;
  /** What the layer's own checksum demands, where it names its objects itself. */
  readonly expected?: Checksum;
}

export type FilesToImport = Map<FileNode | SymlinkNode, FileToImport>;

/** Which objects an image's files are, and what became of those that had to be read. */
export class WantedObjects {
  /** By the node that a file is when it is labelled. */
  readonly objects: ObjectsOfNodes = new Map();
  readonly account = emptyAccount();
  /** Labelled nodes, by the node that was asked for. */
  readonly #labelled = new Map<FileNode | SymlinkNode, FileNode | SymlinkNode>();
  readonly #refused = new Map<Checksum, number>();

  /** Asks, in `files`, for what has to be read so that a file is an object with its label; by the plain node, that other stores may ask for too. */
  ask(files: FilesToImport, node: FileNode | SymlinkNode, labelled: FileNode | SymlinkNode): void {
    if (this.objects.has(labelled) || isWhiteoutFile(node)) return;
    const isAsked = files.has(node);
    if (isAsked && (this.#labelled.get(node) ?? node) === labelled) return;
    // The second label of hardlinks is a file of its own.
    files.set(isAsked ? labelled : node, labelled);
    if (isAsked) return;
    if (labelled === node) this.#labelled.delete(node);
    else this.#labelled.set(node, labelled);
  }

  /** What became of a file that was asked for. */
  take(node: FileNode | SymlinkNode, { checksum, outcome }: StoredFileObject): void {
    this.objects.set(this.#labelled.get(node) ?? node, checksum);
    if (node.kind !== "file" || outcome === "symlink") return;
    if (outcome === "refused") this.#refused.set(checksum, node.size);
    else if (node.size > 0) addTo(this.account[outcome], node.size);
  }

  /** What can't be shared with one label may be with another: it is to be asked for again. */
  forgetRefused(): void {
    for (const [node, checksum] of this.objects) if (this.#refused.has(checksum)) this.objects.delete(node);
    this.#refused.clear();
  }

  /** `reason`: why the probe found that files can't be shared; may be empty. @throws "cannot-share" */
  demandShared(reference: string, reason: string): void {
    demandShared(this.#refused, { of: reference, store: "ostree", reason, otherWay: "" });
  }
}
