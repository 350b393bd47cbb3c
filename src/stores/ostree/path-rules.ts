import { type ByteString, byteStringOfText, displayBytes, isUtf8, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { opaqueMarker } from "#image/layer-tree.ts";
import { type DirectoryNode, directory, type TreeNode, withChildren } from "#image/tree.ts";

/** What of an image ostree can't hold, or leaves out by rule. */
export interface LeftOut {
  /** FIFOs and device nodes (sockets never are in a layer): ostree knows none. */
  readonly special: ByteString[];
  /** Names by top-level directory whose content belongs to the running system, not to the image; with counts. */
  readonly byRule: Map<string, number>;
}

const name = (text: string) => byteStringOfText(text);
const usr = name("usr");
const etc = name("etc");
const variable = name("var");

/** The directory itself stays, as a mount point; what an image has in it is dropped. */
const emptied = new Set(["run", "tmp", "proc", "sys", "dev"].map(name));
/** Kept whatever the image's kind. */
const kept = new Set([usr, variable]);
/** Made at run time; empty ones in an image are leftovers of building it (ostree-ext drops them too). */
const emptyFilesOfBuilds = new Set(["hostname", "resolv.conf"].map(name));

const impliedParent: DirectoryNode = {
  ...directory({ uid: 0, gid: 0, mode: 0o040755, xattrs: [] }, new Map()),
  implied: true,
};

/**
 * Turns the root file system of an image, or one layer of it, into what ostree commits hold, by ostree-ext's
 * rules: /etc is /usr/etc, the content of /run, /tmp, /proc, /sys and /dev is dropped; other top-level names
 * are dropped where the image is built on an ostree commit. Refuses names that are not UTF-8 (`not-utf8`).
 */
export function applyPathRules(
  root: DirectoryNode,
  options: { ostreeBase: boolean },
): { tree: DirectoryNode; leftOut: LeftOut } {
  const leftOut: LeftOut = { special: [], byRule: new Map() };
  const drop = (top: ByteString, node: TreeNode) => {
    const key = `/${displayBytes(top)}`;
    leftOut.byRule.set(key, (leftOut.byRule.get(key) ?? 0) + countNames(node));
  };
  const top = new Map<ByteString, TreeNode>();
  for (const [entry, node] of root.children) {
    if (entry === etc) continue;
    if (emptied.has(entry)) {
      if (node.kind === "directory") {
        for (const child of node.children.values()) drop(entry, child);
        top.set(entry, directory(node.metadata, new Map()));
      } else top.set(entry, node);
    } else if (options.ostreeBase && !kept.has(entry)) drop(entry, node);
    else top.set(entry, node);
  }
  const moved = moveEtc(root, top);
  // What a layer may not change at the top it may not hide there either.
  const mayChange = (entry: ByteString) => !options.ostreeBase || kept.has(entry);
  const whiteouts = new Set([...moved].filter(mayChange));
  // Nor all of it: ostree-ext takes the marker at the root for one more name at the top.
  const hidesBase = options.ostreeBase && root.opaque;
  if (hidesBase) leftOut.byRule.set(`/${opaqueMarker}`, 1);
  const tree: DirectoryNode = {
    ...root,
    children: top,
    whiteouts,
    opaque: root.opaque && !hidesBase,
    // The mode of a layer's root is of containers/storage's making; an ostree commit has a real one.
    ...(options.ostreeBase ? { implied: true } : {}),
  };
  return { tree: holdable(tree, "" as ByteString, leftOut), leftOut };
}

/** Moves /etc into /usr/etc in `top`, whiteouts of it too; returns the root's whiteouts as they are then. */
function moveEtc(root: DirectoryNode, top: Map<ByteString, TreeNode>): ReadonlySet<ByteString> {
  const node = root.children.get(etc);
  const hidden = root.whiteouts.has(etc);
  if (node === undefined && !hidden) return root.whiteouts;
  const old = top.get(usr);
  const parent = old?.kind === "directory" ? old : impliedParent;
  const children = new Map(parent.children);
  if (node !== undefined) {
    const there = children.get(etc);
    children.set(etc, there?.kind === "directory" && node.kind === "directory" ? united(there, node) : node);
  }
  top.set(usr, {
    ...withChildren(parent, children),
    whiteouts: hidden ? new Set([...parent.whiteouts, etc]) : parent.whiteouts,
  });
  return new Set([...root.whiteouts].filter((whiteout) => whiteout !== etc));
}

/** An image that has both /usr/etc and /etc: /etc is what its programs saw, so it wins. */
function united(lower: DirectoryNode, upper: DirectoryNode): DirectoryNode {
  const children = new Map(lower.children);
  for (const [entry, node] of upper.children) {
    const there = children.get(entry);
    children.set(entry, there?.kind === "directory" && node.kind === "directory" ? united(there, node) : node);
  }
  return withChildren(upper, children);
}

/** Drops what a host makes for itself, from the merged tree: see ostree-ext's merge. */
export function dropBuildLeftovers(root: DirectoryNode): DirectoryNode {
  const parent = root.children.get(usr);
  const config = parent?.kind === "directory" ? parent.children.get(etc) : undefined;
  if (parent?.kind !== "directory" || config?.kind !== "directory") return root;
  const children = new Map(config.children);
  for (const entry of emptyFilesOfBuilds) {
    const node = children.get(entry);
    if (node?.kind === "file" && node.size === 0) children.delete(entry);
  }
  if (children.size === config.children.size) return root;
  const newParent = withChildren(parent, new Map(parent.children).set(etc, withChildren(config, children)));
  return withChildren(root, new Map(root.children).set(usr, newParent));
}

/** Without what ostree has no object for. A directory that stays as it is stays the same node. */
function holdable(node: DirectoryNode, path: ByteString, leftOut: LeftOut): DirectoryNode {
  const changed = new Map<ByteString, TreeNode | undefined>();
  for (const whiteout of node.whiteouts) refuseIfNotUtf8(joinBytes(path, whiteout), whiteout);
  for (const [entry, child] of node.children) {
    const here = joinBytes(path, entry);
    if (child.kind === "special") {
      leftOut.special.push(here);
      changed.set(entry, undefined);
      continue;
    }
    refuseIfNotUtf8(here, entry);
    if (child.kind === "symlink") refuseTargetIfNotUtf8(here, child.target);
    if (child.kind === "directory") {
      const clean = holdable(child, here, leftOut);
      if (clean !== child) changed.set(entry, clean);
    }
  }
  if (changed.size === 0) return node;
  const children = new Map(node.children);
  for (const [entry, child] of changed) {
    if (child === undefined) children.delete(entry);
    else children.set(entry, child);
  }
  return withChildren(node, children);
}

function refuseIfNotUtf8(path: ByteString, entry: ByteString): void {
  if (isPlain(entry) || isUtf8(entry)) return;
  throw notUtf8(path, "a name that is not UTF-8");
}

function refuseTargetIfNotUtf8(path: ByteString, target: ByteString): void {
  if (isPlain(target) || isUtf8(target)) return;
  throw notUtf8(path, "a link target that is not UTF-8");
}

function notUtf8(path: ByteString, what: string): OneholdError {
  return new OneholdError("not-utf8", `/${displayBytes(path)} has ${what}, which ostree can't hold`, {
    subject: displayBytes(path),
    hint: "Rename it in the image, or use the image from the image store alone (podman runs it).",
  });
}

function isPlain(entry: ByteString): boolean {
  for (let i = 0; i < entry.length; i++) if (entry.charCodeAt(i) > 0x7f) return false;
  return true;
}

function countNames(node: TreeNode): number {
  if (node.kind !== "directory") return 1;
  let count = 1;
  for (const child of node.children.values()) count += countNames(child);
  return count;
}
