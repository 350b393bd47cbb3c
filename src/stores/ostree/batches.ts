import type { ByteString } from "#base/bytes.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { type DirectoryNode, type FileNode, pathOf, type SymlinkNode } from "#image/tree.ts";
import type { FileBatch, FileToStore } from "./file-objects.ts";

/** A batch and what its files are in the tree, in the same order. */
export interface NodeBatch {
  readonly batch: FileBatch;
  readonly nodes: readonly (FileNode | SymlinkNode)[];
}

/** Enough work that handing it to a worker costs little, little enough that all cores end together. */
const maxFiles = 256;
const maxBytes = 16 * 1024 * 1024;

/** Every file and symlink of a tree, each hardlinked one once. */
export function* filesOf(
  tree: DirectoryNode,
  seen = new Set<FileNode | SymlinkNode>(),
): Generator<FileNode | SymlinkNode> {
  for (const child of tree.children.values()) {
    if (child.kind === "directory") yield* filesOf(child, seen);
    else if (child.kind !== "special" && !seen.has(child)) {
      seen.add(child);
      yield child;
    }
  }
}

/** Cuts files into batches; `environment` is what all of them share. */
export function* batchFiles(
  nodes: Iterable<FileNode | SymlinkNode>,
  environment: Omit<FileBatch, "files" | "metadata">,
  detail: (node: FileNode | SymlinkNode) => Pick<FileToStore, "expected"> & { metadata: FileMetadata } = (node) => node,
): Generator<NodeBatch> {
  let batch = emptyBatch();
  for (const node of nodes) {
    const { metadata, expected } = detail(node);
    batch.files.push({
      ...(node.kind === "file"
        ? { path: pathOf(node), size: node.size }
        : { path: "" as ByteString, size: 0, target: node.target }),
      metadata: batch.indexOf(metadata),
      ...(expected === undefined ? {} : { expected }),
    });
    batch.nodes.push(node);
    batch.bytes += node.kind === "file" ? node.size : 0;
    if (batch.files.length >= maxFiles || batch.bytes >= maxBytes) {
      yield finished(batch, environment);
      batch = emptyBatch();
    }
  }
  if (batch.files.length > 0) yield finished(batch, environment);
}

function emptyBatch() {
  const metadata: FileMetadata[] = [];
  const indices = new Map<FileMetadata, number>();
  return {
    files: [] as FileToStore[],
    nodes: [] as (FileNode | SymlinkNode)[],
    metadata,
    bytes: 0,
    indexOf(value: FileMetadata): number {
      let index = indices.get(value);
      if (index === undefined) {
        index = metadata.push(value) - 1;
        indices.set(value, index);
      }
      return index;
    },
  };
}

function finished(batch: ReturnType<typeof emptyBatch>, environment: Omit<FileBatch, "files" | "metadata">): NodeBatch {
  return { batch: { ...environment, files: batch.files, metadata: batch.metadata }, nodes: batch.nodes };
}
