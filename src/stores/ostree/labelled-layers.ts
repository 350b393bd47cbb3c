import { byteStringOfText } from "#base/bytes.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr } from "#linux/xattr.ts";
import { adoptObjects, type ObjectsOfNodes, type ReadMetadata } from "./trees.ts";
import { isWhiteoutFile } from "./whiteout-files.ts";

/** The objects of a layer's files; they are in the repository for as long as the commit is. */
export interface LayerObjects {
  readonly commit: Checksum;
  /** The identity of the policy that they are labelled by; none where no policy labelled them. */
  readonly policy: string | undefined;
  readonly objects: ReadonlyMap<FileNode | SymlinkNode, Checksum>;
}

/** The same, to be remembered. */
export interface FinishedLayer extends Omit<LayerObjects, "objects"> {
  readonly objectOf: (node: FileNode | SymlinkNode) => Checksum | undefined;
}

/** A layer's tree, as it came and with the labels of a policy. */
export interface LabelledLayer {
  /** By ostree's path rules, whiteouts as files. */
  readonly plain: DirectoryNode;
  readonly labelled: DirectoryNode;
  readonly policy: string | undefined;
}

/** The files and symlinks of a layer, by every name, each with what it is when it is labelled: hardlinks may differ in that. */
export function* labelledFiles({
  plain,
  labelled,
}: Pick<LabelledLayer, "plain" | "labelled">): Generator<[FileNode | SymlinkNode, FileNode | SymlinkNode]> {
  for (const [name, after] of labelled.children) {
    const before = plain === labelled ? after : plain.children.get(name);
    if (after.kind === "directory") {
      if (before?.kind === "directory") yield* labelledFiles({ plain: before, labelled: after });
    } else if (after.kind !== "special" && (before?.kind === "file" || before?.kind === "symlink")) {
      yield [before, after];
    }
  }
}

/** How the repository's commit of a layer fits: `same`, and it was remembered so; its files are the `same`; some have `other-labels`. */
export type Adoption = "remembered" | "same" | "other-labels";

/** Where a layer's objects are. */
export interface KnownObjects {
  readonly read: ReadMetadata;
  readonly fileOf: (checksum: Checksum) => string;
  /** New files here have labels that nobody asked for. */
  readonly inheritsXattrs: boolean;
}

/**
 * Finds the objects of a labelled layer's files in the commit that the repository has of it, so that they are not read
 * again; of a file whose object has another label, none. `undefined` where the commit is not that of this layer.
 */
export function adoptLayer(
  source: KnownObjects,
  commit: Checksum,
  layer: LabelledLayer,
  remembered: LayerObjects | undefined,
  objects: ObjectsOfNodes,
): Adoption | undefined {
  const isSame = remembered?.commit === commit && remembered.policy === layer.policy;
  const found = remembered?.commit === commit ? remember(layer, remembered) : undefined;
  if (isSame && found !== undefined) {
    for (const [node, checksum] of found) objects.set(node, checksum);
    return "remembered";
  }
  const adopted: ObjectsOfNodes = found ?? new Map();
  if (found === undefined && !adoptObjects(source.read, commit, layer.labelled, adopted)) return undefined;
  let adoption: Adoption = isSame ? "remembered" : "same";
  for (const [node, checksum] of adopted) {
    if (isSame || hasLabel(source, checksum, node.metadata)) objects.set(node, checksum);
    else adoption = "other-labels";
  }
  return adoption;
}

/** `undefined` where a hardlink has two labels, of which only one is remembered. */
function remember(layer: LabelledLayer, { objects }: LayerObjects): ObjectsOfNodes | undefined {
  const found: ObjectsOfNodes = new Map();
  const seen = new Set<FileNode | SymlinkNode>();
  for (const [node, labelled] of labelledFiles(layer)) {
    if (isWhiteoutFile(node) || found.has(labelled)) continue;
    const checksum = objects.get(node);
    if (checksum === undefined || seen.has(node)) return undefined;
    seen.add(node);
    found.set(labelled, checksum);
  }
  return found;
}

const selinux = byteStringOfText("security.selinux");

function hasLabel({ fileOf, inheritsXattrs }: KnownObjects, checksum: Checksum, { xattrs }: FileMetadata): boolean {
  const wanted = xattrs.find(({ name }) => name === selinux)?.value;
  try {
    const there = getXattr({ path: fileOf(checksum) }, selinux);
    return wanted === undefined ? there === undefined || inheritsXattrs : there?.equals(wanted) === true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
