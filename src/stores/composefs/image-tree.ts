import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { objectPathOf } from "#formats/composefs-objects.ts";
import type {
  ComposefsDirectory,
  ComposefsInode,
  ComposefsLeaf,
  InodeMetadata,
  Timestamp,
} from "#formats/composefs-tree.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import type { FileContent } from "#formats/splitstream-layer.ts";
import type { DirectoryNode, FileNode, SpecialNode, TreeNode } from "#image/tree.ts";

/** What a file holds: known by where it is in its layer, as transformations make new nodes. */
export type ContentOf = (file: FileNode) => FileContent | undefined;

/** A tree as a composefs image writes it; files that are one node are hardlinks of each other. */
export function composefsTree(root: DirectoryNode, contentOf: ContentOf): ComposefsDirectory {
  const leaves = new Map<TreeNode, ComposefsLeaf>();
  const convert = (node: DirectoryNode): ComposefsDirectory => {
    const entries = new Map<ByteString, ComposefsInode>();
    for (const [name, child] of node.children) {
      if (child.kind === "directory") {
        entries.set(name, convert(child));
        continue;
      }
      let leaf = leaves.get(child);
      if (leaf === undefined) leaves.set(child, (leaf = leafOf(child, contentOf)));
      entries.set(name, leaf);
    }
    return { kind: "directory", metadata: metadataOf(node.metadata, node.mtime), entries };
  };
  return convert(root);
}

function leafOf(node: Exclude<TreeNode, DirectoryNode>, contentOf: ContentOf): ComposefsLeaf {
  const metadata = metadataOf(node.metadata, node.mtime);
  if (node.kind === "symlink") return { kind: "symlink", metadata, target: node.target };
  if (node.kind === "special") return { kind: "special", metadata, type: node.type, rdev: deviceNumber(node) };
  if (node.size === 0) return { kind: "inline", metadata, content: empty };
  const content = contentOf(node);
  if (content === undefined) throw new Error(`the content of ${node.folder}/${node.name} is unknown`);
  if (content.kind === "inline") return { kind: "inline", metadata, content: Buffer.from(content.bytes) };
  const path = objectPathOf(content.id) as ByteString;
  return { kind: "external", metadata, size: node.size, path, digest: Buffer.from(content.id, "hex") };
}

const empty = Buffer.alloc(0);

function metadataOf({ mode, uid, gid, xattrs }: FileMetadata, mtime: Timestamp | undefined): InodeMetadata {
  if (mtime === undefined) throw new OneholdError("unsupported", "a directory of the image has no time");
  return { permissions: mode & 0o7777, uid, gid, mtime, xattrs };
}

/** Linux's encoding in 32 bits, see new_encode_dev() in linux/kdev_t.h. */
function deviceNumber({ type, deviceMajor, deviceMinor }: SpecialNode): number {
  if (type === "fifo" || type === "socket") return 0;
  return ((deviceMinor & 0xff) | ((deviceMajor & 0xfff) << 8) | ((deviceMinor & 0xfff00) << 12)) >>> 0;
}
