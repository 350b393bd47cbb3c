import type { ByteString } from "#base/bytes.ts";
import { noXattrs } from "#formats/xattrs.ts";
import { opaqueMarker, whiteoutPrefix } from "#image/layer-tree.ts";
import { type DirectoryNode, type FileNode, type TreeNode, withChildren } from "#image/tree.ts";

/** No layer's files hold it. */
const markLayer = -2;
const mark: FileNode = {
  kind: "file",
  metadata: { uid: 0, gid: 0, mode: 0o100644, xattrs: noXattrs },
  size: 0,
  layer: markLayer,
  folder: "" as ByteString,
  name: "" as ByteString,
  mtime: { seconds: 0, nanoseconds: 0 },
};
const noNames: ReadonlySet<ByteString> = new Set();

/**
 * A layer's tree as its commit has it: whiteouts are empty files, named as in the tar. A directory without any stays
 * the same node.
 */
export function withWhiteoutFiles(node: DirectoryNode): DirectoryNode {
  const changed = new Map<ByteString, TreeNode>();
  for (const [name, child] of node.children) {
    const after = child.kind === "directory" ? withWhiteoutFiles(child) : child;
    if (after !== child) changed.set(name, after);
  }
  for (const name of node.whiteouts) changed.set((whiteoutPrefix + name) as ByteString, mark);
  if (node.opaque) changed.set(opaqueMarker as ByteString, mark);
  if (changed.size === 0) return node;
  return { ...withChildren(node, new Map([...node.children, ...changed])), whiteouts: noNames, opaque: false };
}

/** Whether it stands for a whiteout, labelled or not: then nothing is to be read for it. */
export function isWhiteoutFile(node: TreeNode): boolean {
  return node.kind === "file" && node.layer === markLayer;
}
