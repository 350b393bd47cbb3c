import { type ByteString, joinBytes } from "#base/bytes.ts";
import type { Timestamp } from "#formats/composefs-tree.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";

/**
 * An image (or one layer of it) as a tree of names. Nodes are never changed once a tree is built: merging
 * and every store's transformation make new directories and reuse the nodes that stay as they are, so a
 * node's identity can serve as the key for what a store knows of it (its checksum, say).
 *
 * Names that are hardlinks of each other hold the same FileNode.
 */
export type TreeNode = DirectoryNode | FileNode | SymlinkNode | SpecialNode;

export interface DirectoryNode {
  readonly kind: "directory";
  readonly metadata: FileMetadata;
  readonly children: ReadonlyMap<ByteString, TreeNode>;
  /** Of a layer: the names that it takes away from the layers below. Empty in a merged tree. */
  readonly whiteouts: ReadonlySet<ByteString>;
  /** Of a layer: nothing that the layers below have in this directory is left. */
  readonly opaque: boolean;
  /** Absent where no layer lists the directory: whatever unpacked it chose one. */
  readonly mtime?: Timestamp;
  /** Of a layer: its tar does not list the directory, only what is in it. */
  readonly implied?: true;
}

export interface FileNode {
  readonly kind: "file";
  readonly metadata: FileMetadata;
  readonly size: number;
  /** Which layer's files hold the content: an index into the image's layers. */
  readonly layer: number;
  /** Where in that layer's files: relative, no `.` or `..`, no symlink on the way. Apart, as most memory of an image goes into paths. */
  readonly folder: ByteString;
  readonly name: ByteString;
  readonly mtime: Timestamp;
}

/** Of a file, in its layer's files. */
export function pathOf({ folder, name }: FileNode): ByteString {
  return joinBytes(folder, name);
}

export interface SymlinkNode {
  readonly kind: "symlink";
  readonly metadata: FileMetadata;
  readonly target: ByteString;
  readonly mtime: Timestamp;
}

export interface SpecialNode {
  readonly kind: "special";
  readonly metadata: FileMetadata;
  /** No layer has a socket, but a directory may. */
  readonly type: "fifo" | "char" | "block" | "socket";
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly mtime: Timestamp;
}

const noNames: ReadonlySet<ByteString> = new Set();

export function directory(
  metadata: FileMetadata,
  children: ReadonlyMap<ByteString, TreeNode>,
  mtime?: Timestamp,
): DirectoryNode {
  const node = { kind: "directory" as const, metadata, children, whiteouts: noNames, opaque: false };
  return mtime === undefined ? node : { ...node, mtime };
}

/** The same directory with other children. */
export function withChildren(node: DirectoryNode, children: ReadonlyMap<ByteString, TreeNode>): DirectoryNode {
  return { ...node, children };
}

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
