import fs from "node:fs";
import { byteStringOfText, bytesOf, displayBytes } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { type Checksum, checksumOf, type FileMetadata } from "#formats/ostree-objects.ts";
import { parseXattrs, type Xattr } from "#formats/xattrs.ts";
import { type DirectoryNode, type FileNode, pathOf, type SymlinkNode, type TreeNode } from "#image/tree.ts";
import { openBeneath } from "#linux/beneath.ts";
import { openDirectory } from "#linux/descriptor.ts";

/**
 * Layers that carry parts of an ostree repository (images made by `ostree container encapsulate`, as Fedora
 * and CentOS publish them): tars of `sysroot/ostree/repo/objects/…` in the form that libostree calls
 * bare-split-xattrs. A file object's owner and mode are in its tar header, its xattrs in an object of their
 * own that `<checksum>.file-xattrs-link` is a hardlink to. Source: ostree-ext's tar format, version 1.
 */
export interface NativeLayer {
  /** File objects with the checksum that their names claim. */
  readonly files: Map<FileNode | SymlinkNode, { expected: Checksum; metadata: FileMetadata }>;
  /** Dirtrees and dirmetas, their bytes checked against their names. */
  readonly metadata: { checksum: Checksum; type: "dirtree" | "dirmeta"; bytes: Buffer }[];
  /** Commits, checked the same way. */
  readonly commits: { checksum: Checksum; bytes: Buffer }[];
  /** Metadata that commits have beside them (signatures, say), by commit; no checksum covers it. */
  readonly detached: Map<Checksum, Buffer>;
}

/** As libostree refuses larger ones (tar import of ostree-ext: 10 MiB for metadata, 1 MiB for xattrs). */
const maxMetadata = 10 * 1024 * 1024;
const maxXattrs = 1024 * 1024;

const objectsFolder = ["sysroot", "ostree", "repo", "objects"].map((name) => byteStringOfText(name));
const prefixPattern = /^[0-9a-f]{2}$/;
const objectPattern = /^([0-9a-f]{62})\.(file|dirtree|dirmeta|commit|commitmeta|file-xattrs|file-xattrs-link)$/;

/** Finds the repository's objects in a layer's tree; `root` is the folder with the layer's files. */
export function collectNativeLayer(tree: DirectoryNode, root: string): NativeLayer {
  using directory = openDirectory(root);
  const read = (node: TreeNode, limit: number) => readWhole(directory.fd, node, limit);
  const layer: NativeLayer = { files: new Map(), metadata: [], commits: [], detached: new Map() };
  const xattrsOf = new Map<Checksum, readonly Xattr[]>();
  const parsed = new Map<TreeNode, readonly Xattr[]>();
  const contents: [Checksum, FileNode | SymlinkNode][] = [];
  for (const { checksum, type, node } of objectsIn(tree)) {
    if (type === "file" && node.kind !== "directory" && node.kind !== "special") contents.push([checksum, node]);
    else if (type === "file-xattrs-link") {
      // Few distinct sets, many links to them: hardlinks share their node.
      let xattrs = parsed.get(node);
      if (xattrs === undefined) {
        xattrs = parseXattrs(read(node, maxXattrs));
        parsed.set(node, xattrs);
      }
      xattrsOf.set(checksum, xattrs);
    } else if (type === "commitmeta") {
      layer.detached.set(checksum, read(node, maxMetadata));
    } else if (type === "commit" || type === "dirtree" || type === "dirmeta") {
      const bytes = read(node, maxMetadata);
      if (checksumOf(bytes) !== checksum)
        throw corruptNativeLayer(`object ${checksum}.${type} does not have its checksum`);
      if (type === "commit") layer.commits.push({ checksum, bytes });
      else layer.metadata.push({ checksum, type, bytes });
    }
  }
  for (const [checksum, node] of contents) {
    const { uid, gid, mode } = node.metadata;
    layer.files.set(node, { expected: checksum, metadata: { uid, gid, mode, xattrs: xattrsOf.get(checksum) ?? [] } });
  }
  return layer;
}

function* objectsIn(tree: DirectoryNode): Generator<{ checksum: Checksum; type: string; node: TreeNode }> {
  let folder: TreeNode | undefined = tree;
  for (const name of objectsFolder) folder = folder?.kind === "directory" ? folder.children.get(name) : undefined;
  if (folder?.kind !== "directory") return;
  for (const [prefix, child] of folder.children) {
    if (!prefixPattern.test(prefix) || child.kind !== "directory") continue;
    for (const [name, node] of child.children) {
      const [, rest, type] = objectPattern.exec(name) ?? [];
      if (rest !== undefined && type !== undefined) yield { checksum: (prefix + rest) as Checksum, type, node };
    }
  }
}

function readWhole(rootFd: number, node: TreeNode, limit: number): Buffer {
  if (node.kind !== "file") throw corruptNativeLayer("a metadata object is not a regular file");
  const path = pathOf(node);
  if (node.size > limit)
    throw corruptNativeLayer(`${displayBytes(path)} is ${node.size} bytes, more than the ${limit} that ostree allows`);
  using file = openBeneath(rootFd, bytesOf(path), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  const bytes = Buffer.alloc(node.size);
  for (let done = 0; done < bytes.length; ) {
    const count = fs.readSync(file.fd, bytes, done, bytes.length - done, done);
    if (count === 0) throw corruptNativeLayer(`${displayBytes(path)} is shorter than its tar says`);
    done += count;
  }
  return bytes;
}

/** How many of an image's layers carry ostree objects: those up to the one that its label `ostree.final-diffid` names. */
export function countNativeLayers(layers: readonly { readonly diffId: Digest }[], final: Digest | undefined): number {
  if (final === undefined) return 0;
  const last = layers.findIndex((layer) => layer.diffId === final);
  if (last >= 0) return last + 1;
  throw new OneholdError("corrupt", `label ostree.final-diffid names ${final}, which is no layer of the image`);
}

/** The commit that an image is built on, in its first layer, and what lies beside it. */
export function commitIn({ commits, detached }: NativeLayer) {
  const [commit, ...others] = commits;
  if (commit === undefined || others.length > 0) {
    throw corruptNativeLayer(`the first layer has ${commits.length} commits, not one`);
  }
  return { ...commit, detached: detached.get(commit.checksum) };
}

/** A stray commit, its tree missing perhaps, would make every prune of the repository fail. */
export function demandNoCommit({ commits }: NativeLayer): void {
  if (commits.length > 0) throw corruptNativeLayer("there is a commit in another layer than the first");
}

/** For what the image itself has wrong, not the copy in the store. */
function corruptNativeLayer(why: string): OneholdError {
  return new OneholdError("corrupt", `the image's ostree layer is damaged: ${why}`, {
    hint: "Ask whoever publishes the image, or pull it again.",
  });
}
