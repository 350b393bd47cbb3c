import type { ByteString } from "#base/bytes.ts";
import { directory, type DirectoryNode, type TreeNode } from "./tree.ts";

/**
 * What a directory shows that an upper layer has without listing it: `as-unpacked`, what whoever unpacked that
 * layer gave it, as podman's mount does; `as-listed`, what the layers below say, as in a tree made of the tars alone.
 */
export type UnlistedDirectories = "as-unpacked" | "as-listed";

/**
 * The image's root file system: its layers laid over each other, base first, by OCI's rules (image-spec,
 * layer.md): a whiteout hides what the layers below have, never what its own layer brings; an upper entry
 * replaces a lower one; two directories are united and the upper one's owner, mode and xattrs win.
 */
export function mergeLayers(layers: readonly DirectoryNode[], unlisted: UnlistedDirectories): DirectoryNode {
  const [base, ...rest] = layers;
  if (base === undefined) throw new Error("an image has at least one layer");
  return rest.reduce((lower, upper) => overlay(lower, upper, unlisted), withoutWhiteouts(base));
}

/** Lays a layer over a merged tree. */
export function overlay(lower: DirectoryNode, upper: DirectoryNode, unlisted: UnlistedDirectories): DirectoryNode {
  const metadata = upper.implied && unlisted === "as-listed" ? lower.metadata : upper.metadata;
  const mtime = upper.mtime ?? lower.mtime;
  if (upper.opaque) return directory(metadata, withoutWhiteouts(upper).children, mtime);
  const children = new Map(lower.children);
  for (const name of upper.whiteouts) children.delete(name);
  for (const [name, node] of upper.children) children.set(name, overlayNode(children.get(name), node, unlisted));
  return directory(metadata, children, mtime);
}

function overlayNode(lower: TreeNode | undefined, upper: TreeNode, unlisted: UnlistedDirectories): TreeNode {
  if (upper.kind !== "directory") return upper;
  return lower?.kind === "directory" ? overlay(lower, upper, unlisted) : withoutWhiteouts(upper);
}

/** A tree without whiteouts stays the same node, so that merging copies only what an upper layer touches. */
function withoutWhiteouts(node: DirectoryNode): DirectoryNode {
  let children: Map<ByteString, TreeNode> | undefined;
  for (const [name, child] of node.children) {
    const clean = child.kind === "directory" ? withoutWhiteouts(child) : child;
    if (clean !== child) children = (children ?? new Map(node.children)).set(name, clean);
  }
  if (children === undefined && !node.opaque && node.whiteouts.size === 0) return node;
  return directory(node.metadata, children ?? node.children, node.mtime);
}
