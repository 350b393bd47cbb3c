import { type ByteString, bytesOf, byteStringOfText } from "#base/bytes.ts";
import { unreachable } from "#base/errors.ts";
import type { FileContexts } from "#formats/file-contexts.ts";
import type { FileType } from "#formats/file-contexts-lines.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { ownCopy } from "#formats/xattrs.ts";
import type { SelinuxPolicy } from "./selinux-policy.ts";
import type { DirectoryNode, TreeNode } from "./tree.ts";

/**
 * The tree with the labels that composefs-rs gives it, without NUL; a file that the policy has no label for loses the
 * one it has, as all do where there is no policy. What is labelled already stays the same node. Names that are
 * hardlinks of each other are so afterwards only if they have the same label.
 */
export function withComposefsLabels(root: DirectoryNode, policy: SelinuxPolicy | undefined): DirectoryNode {
  const contexts = policy?.contexts ?? unlabelled;
  return new Labeller().relabel(root, contexts, (path, type) => contexts.labelOf(path, type) ?? none);
}

/**
 * Labels as libostree does where it commits with a policy, with a NUL; a file that the policy has no label for keeps
 * what it has. For trees after ostree's path rules: /usr/etc is looked up as such, what a policy says of /etc counts
 * for it by a substitution only.
 *
 * What is labelled already stays the same node. A file that gets the same label again, in another tree or by another
 * policy, gets the same new node again: so only nodes not seen before need an object. So does a directory at the same
 * path of another tree, by the same policy. Hardlinks: as with composefs.
 */
export class OstreeLabeller {
  readonly #labeller = new Labeller();

  relabel(root: DirectoryNode, { contexts }: SelinuxPolicy): DirectoryNode {
    return this.#labeller.relabel(root, contexts, (path, type) => {
      const label = contexts.labelOf(path === proc ? mountPoint : path, type);
      return label === undefined ? undefined : (`${label}\0` as ByteString);
    });
  }
}

/** A file for which the programs that label would not agree. */
export interface LabelDifference {
  readonly path: ByteString;
  /** Without NUL; none where it gets no label. */
  readonly libselinux: ByteString | undefined;
  readonly composefs: ByteString | undefined;
}

/** Where, in an image's tree (before any store's path rules), libselinux and composefs-rs read a policy differently. */
export function* labelDifferences(
  root: DirectoryNode,
  contexts: { readonly libselinux: FileContexts; readonly composefs: FileContexts },
): Iterable<LabelDifference> {
  const { libselinux, composefs } = contexts;
  const visit = function* (node: TreeNode, path: ByteString, composefsPath: ByteString): Iterable<LabelDifference> {
    const type = typeOf(node);
    const labels = { libselinux: libselinux.labelOf(path, type), composefs: composefs.labelOf(composefsPath, type) };
    if (labels.libselinux !== labels.composefs) yield { path, ...labels };
    if (node.kind !== "directory") return;
    for (const [name, child] of node.children) {
      yield* visit(child, libselinux.childPath(path, name), composefs.childPath(composefsPath, name));
    }
  };
  yield* visit(root, top, top);
}

const top = byteStringOfText("/");
const proc = byteStringOfText("/proc");
/** libostree labels /proc so, since it is a mount point and policies have no label for it. */
const mountPoint = byteStringOfText("/mnt");
const xattrName = byteStringOfText("security.selinux");
/** No label, as opposed to the one that is there. */
const none = byteStringOfText("");

const unlabelled: FileContexts = { childPath: () => top, labelOf: () => undefined };

/** What a path's label shall be: `none` for no label at all, undefined for whatever is there. */
type LabelOf = (path: ByteString, type: FileType) => ByteString | undefined;

interface RelabelledDirectory {
  readonly path: ByteString;
  readonly contexts: FileContexts;
  readonly after: DirectoryNode;
}

class Labeller {
  /** By label: metadata with it, by the metadata that it was. Many files share one. */
  readonly #metadata = new Map<ByteString, Map<FileMetadata, FileMetadata>>();
  /** By label: the new node of a file, which may have several names. */
  readonly #leaves = new Map<ByteString, Map<TreeNode, TreeNode>>();
  /** What became of a directory at its place: most of a merged tree are directories of its layers. */
  readonly #directories = new Map<DirectoryNode, RelabelledDirectory>();

  relabel(root: DirectoryNode, contexts: FileContexts, labelOf: LabelOf): DirectoryNode {
    return this.#directory(root, top, contexts, labelOf);
  }

  #directory(node: DirectoryNode, path: ByteString, contexts: FileContexts, labelOf: LabelOf): DirectoryNode {
    const known = this.#directories.get(node);
    if (known?.path === path && known.contexts === contexts) return known.after;
    const after = this.#relabel(node, path, contexts, labelOf);
    this.#directories.set(node, { path, contexts, after });
    return after;
  }

  #relabel(node: DirectoryNode, path: ByteString, contexts: FileContexts, labelOf: LabelOf): DirectoryNode {
    const metadata = this.#labelled(node.metadata, labelOf(path, "d"));
    let changed = metadata !== node.metadata;
    const children = new Map<ByteString, TreeNode>();
    for (const [name, child] of node.children) {
      const at = contexts.childPath(path, name);
      const after =
        child.kind === "directory"
          ? this.#directory(child, at, contexts, labelOf)
          : this.#leaf(child, labelOf(at, typeOf(child)));
      changed ||= after !== child;
      children.set(name, after);
    }
    return changed ? { ...node, metadata, children } : node;
  }

  #leaf(node: Exclude<TreeNode, DirectoryNode>, label: ByteString | undefined): TreeNode {
    const metadata = this.#labelled(node.metadata, label);
    if (label === undefined || metadata === node.metadata) return node;
    return remembered(this.#leaves, label, node, () => ({ ...node, metadata }));
  }

  #labelled(metadata: FileMetadata, label: ByteString | undefined): FileMetadata {
    if (label === undefined) return metadata;
    return remembered(this.#metadata, label, metadata, () => withLabel(metadata, label));
  }
}

function withLabel(metadata: FileMetadata, label: ByteString): FileMetadata {
  const value = ownCopy(bytesOf(label));
  const there = metadata.xattrs.find(({ name }) => name === xattrName);
  if (there === undefined ? label === none : there.value.equals(value) && label !== none) return metadata;
  const others = metadata.xattrs.filter((xattr) => xattr !== there);
  return { ...metadata, xattrs: label === none ? others : [...others, { name: xattrName, value }] };
}

function remembered<Value extends object>(
  known: Map<ByteString, Map<Value, Value>>,
  label: ByteString,
  before: Value,
  make: () => Value,
): Value {
  let ofLabel = known.get(label);
  if (ofLabel === undefined) known.set(label, (ofLabel = new Map<Value, Value>()));
  let after = ofLabel.get(before);
  if (after === undefined) ofLabel.set(before, (after = make()));
  return after;
}

function typeOf(node: TreeNode): FileType {
  switch (node.kind) {
    case "directory":
      return "d";
    case "file":
      return "-";
    case "symlink":
      return "l";
    case "special":
      return typesOfSpecial[node.type];
    default:
      return unreachable(node);
  }
}

const typesOfSpecial = { fifo: "p", char: "c", block: "b", socket: "s" } as const;
