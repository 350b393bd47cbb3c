import type { ByteString } from "#base/bytes.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import { type FileNode, pathOf, type SymlinkNode } from "#image/tree.ts";
import type { FileToRead } from "./read-files.ts";

/** What the stores want of a file or symlink. */
export interface FileNeeds {
  ostree?: { readonly metadata: FileMetadata; readonly expected?: Checksum };
  composefs?: true;
}

/** Files for one worker, what they are in the tree, in the same order, and their metadata. */
export interface NodeBatch {
  readonly nodes: readonly (FileNode | SymlinkNode)[];
  readonly files: readonly FileToRead[];
  readonly metadata: readonly FileMetadata[];
}

/** Enough work that handing it to a worker costs little, little enough that all cores end together. */
const maxFiles = 256;
const maxBytes = 16 * 1024 * 1024;

/** Cuts the files of a layer into batches. */
export function* batchFiles(needs: Iterable<readonly [FileNode | SymlinkNode, FileNeeds]>): Generator<NodeBatch> {
  let batch = new Batch();
  for (const [node, needed] of needs) {
    batch.add(node, needed);
    if (batch.files.length < maxFiles && batch.bytes < maxBytes) continue;
    yield batch;
    batch = new Batch();
  }
  if (batch.files.length > 0) yield batch;
}

class Batch implements NodeBatch {
  readonly nodes: (FileNode | SymlinkNode)[] = [];
  readonly files: FileToRead[] = [];
  readonly metadata: FileMetadata[] = [];
  bytes = 0;
  readonly #indices = new Map<FileMetadata, number>();

  add(node: FileNode | SymlinkNode, { ostree, composefs }: FileNeeds): void {
    this.nodes.push(node);
    this.files.push({
      ...(node.kind === "file"
        ? { path: pathOf(node), size: node.size }
        : { path: "" as ByteString, size: 0, target: node.target }),
      ...(ostree === undefined ? {} : { ostree: { ...ostree, metadata: this.#indexOf(ostree.metadata) } }),
      ...(composefs === undefined ? {} : { composefs }),
    });
    if (node.kind === "file") this.bytes += node.size;
  }

  #indexOf(metadata: FileMetadata): number {
    let index = this.#indices.get(metadata);
    if (index === undefined) {
      index = this.metadata.push(metadata) - 1;
      this.#indices.set(metadata, index);
    }
    return index;
  }
}
