import { byteStringOfText, type ByteString, displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { directory, type DirectoryNode, type TreeNode, withChildren } from "#image/tree.ts";

const [usr, run, boot, sysroot] = ["usr", "run", "boot", "sysroot"].map(byteStringOfText) as [
  ByteString,
  ByteString,
  ByteString,
  ByteString,
];
const capability = byteStringOfText("security.capability");

/**
 * Turns the root file system of an image, its layers merged, into what a composefs image shows, by composefs-rs's
 * rules (transform_for_oci): the root directory has the metadata of /usr, since what unpacked the layers chose its
 * own; /run is empty; of xattrs, only file capabilities stay.
 * @throws OneholdError "unsupported" where the image can't be a composefs image
 */
export function applyImageRules(root: DirectoryNode): DirectoryNode {
  const top = root.children.get(usr);
  if (top?.kind !== "directory") throw refused("it has no directory /usr");
  refuseUnlisted(root, "" as ByteString);
  const emptied = root.children.get(run);
  const children =
    emptied?.kind === "directory"
      ? new Map(root.children).set(run, directory(emptied.metadata, new Map(), top.mtime))
      : root.children;
  const tree = new XattrFilter().filter({ ...withChildren(root, children), metadata: top.metadata });
  return directory(tree.metadata, tree.children, top.mtime);
}

/**
 * The same image as it boots (transform_for_boot), still to be labelled: /boot and /sysroot are empty, and of /usr's
 * age, in whole seconds.
 * @throws OneholdError "unsupported" where one of them is missing
 */
export function applyBootRules(root: DirectoryNode): DirectoryNode {
  const top = root.children.get(usr);
  const children = new Map(root.children);
  for (const name of [boot, sysroot]) {
    const node = children.get(name);
    if (node?.kind !== "directory") throw refused(`it has no directory /${name}`);
    const mtime = { seconds: timeOf(top).seconds, nanoseconds: timeOf(node).nanoseconds };
    children.set(name, directory(node.metadata, new Map(), mtime));
  }
  return withChildren(root, children);
}

/** When no layer lists a directory, nobody can say what it shall be: composefs-rs refuses such layers. */
function refuseUnlisted(node: DirectoryNode, path: ByteString): void {
  for (const [name, child] of node.children) {
    if (child.kind !== "directory") continue;
    const here = joinBytes(path, name);
    if (child.mtime === undefined) throw refused(`no layer lists the directory /${displayBytes(here)}`);
    refuseUnlisted(child, here);
  }
}

function timeOf(node: TreeNode | undefined) {
  if (node?.mtime === undefined) throw refused("no layer lists one of its top directories");
  return node.mtime;
}

/** Drops the xattrs that are not for images. Hardlinks stay hardlinks; what has none stays the same node. */
class XattrFilter {
  readonly #metadata = new Map<FileMetadata, FileMetadata>();
  readonly #leaves = new Map<TreeNode, TreeNode>();

  filter(node: DirectoryNode): DirectoryNode {
    const metadata = this.#clean(node.metadata);
    let changed = metadata !== node.metadata;
    const children = new Map<ByteString, TreeNode>();
    for (const [name, child] of node.children) {
      const after = child.kind === "directory" ? this.filter(child) : this.#leaf(child);
      changed ||= after !== child;
      children.set(name, after);
    }
    return changed ? { ...node, metadata, children } : node;
  }

  #leaf(node: Exclude<TreeNode, DirectoryNode>): TreeNode {
    const metadata = this.#clean(node.metadata);
    if (metadata === node.metadata) return node;
    let after = this.#leaves.get(node);
    if (after === undefined) this.#leaves.set(node, (after = { ...node, metadata }));
    return after;
  }

  #clean(metadata: FileMetadata): FileMetadata {
    if (metadata.xattrs.every(({ name }) => name === capability)) return metadata;
    let after = this.#metadata.get(metadata);
    if (after === undefined) {
      after = { ...metadata, xattrs: metadata.xattrs.filter(({ name }) => name === capability) };
      this.#metadata.set(metadata, after);
    }
    return after;
  }
}

function refused(why: string): OneholdError {
  return new OneholdError("unsupported", `the image can't be a composefs image: ${why}`, {
    hint: "It can't boot from composefs; build it anew on a base image that can.",
  });
}
