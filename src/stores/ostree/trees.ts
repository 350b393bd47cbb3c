import { type ByteString, displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import { type Dirtree, parseDirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import {
  type Checksum,
  checksumOf,
  type FileMetadata,
  parseDirmeta,
  serializeDirmeta,
} from "#formats/ostree-objects.ts";
import { opaqueMarker, whiteoutPrefix } from "#image/layer-tree.ts";
import { type DirectoryNode, directory, type FileNode, type SymlinkNode, type TreeNode } from "#image/tree.ts";

/** Which object holds a file or symlink of an image. */
export type ObjectsOfNodes = Map<FileNode | SymlinkNode, Checksum>;

/** Where serialised metadata objects go; tells nothing back, since they are named by their content. */
export type PutMetadata = (checksum: Checksum, type: "dirtree" | "dirmeta" | "commit", bytes: Buffer) => void;

/** Reads a metadata object by its name; `undefined` where it is missing. */
export type ReadMetadata = (checksum: Checksum, type: "dirtree" | "dirmeta" | "commit") => Buffer | undefined;

/** A directory as a commit or a parent directory points to it. */
export interface DirectoryObjects {
  readonly tree: Checksum;
  readonly metadata: Checksum;
}

/**
 * Serialises trees bottom-up. `makeWhiteout` makes the object that stands for each whiteout of a layer (an empty
 * file, named `.wh.NAME` as tars have it); it is asked for with the first one.
 */
export class TreeSerializer {
  readonly #objects: ObjectsOfNodes;
  readonly #put: PutMetadata;
  readonly #makeWhiteout: () => Checksum;
  #whiteout: Checksum | undefined;
  readonly #dirmetas = new Map<FileMetadata, Checksum>();
  /** Merging keeps what an upper layer does not touch, so most of a merged tree has been serialised with its layers. */
  readonly #done = new Map<DirectoryNode, DirectoryObjects>();

  constructor(objects: ObjectsOfNodes, put: PutMetadata, makeWhiteout: () => Checksum) {
    this.#objects = objects;
    this.#put = put;
    this.#makeWhiteout = makeWhiteout;
  }

  serialize(node: DirectoryNode): DirectoryObjects {
    const done = this.#done.get(node) ?? this.#serialize(node);
    this.#done.set(node, done);
    return done;
  }

  #serialize(node: DirectoryNode): DirectoryObjects {
    const files: { name: ByteString; checksum: Checksum }[] = [];
    const directories: { name: ByteString; tree: Checksum; metadata: Checksum }[] = [];
    for (const [name, child] of node.children) {
      if (child.kind === "directory") directories.push({ name, ...this.serialize(child) });
      else files.push({ name, checksum: this.#objectOf(name, child) });
    }
    for (const name of node.whiteouts)
      files.push({ name: (whiteoutPrefix + name) as ByteString, checksum: this.#mark() });
    if (node.opaque) files.push({ name: opaqueMarker as ByteString, checksum: this.#mark() });
    const bytes = serializeDirtree({ files, directories });
    const tree = checksumOf(bytes);
    this.#put(tree, "dirtree", bytes);
    return { tree, metadata: this.dirmeta(node.metadata) };
  }

  #objectOf(name: ByteString, node: Exclude<TreeNode, DirectoryNode>): Checksum {
    const checksum = node.kind === "special" ? undefined : this.#objects.get(node);
    if (checksum === undefined) throw new Error(`${displayBytes(name)} has no object`);
    return checksum;
  }

  #mark(): Checksum {
    this.#whiteout ??= this.#makeWhiteout();
    return this.#whiteout;
  }

  dirmeta(metadata: FileMetadata): Checksum {
    let checksum = this.#dirmetas.get(metadata);
    if (checksum === undefined) {
      const bytes = serializeDirmeta(metadata);
      checksum = checksumOf(bytes);
      this.#put(checksum, "dirmeta", bytes);
      this.#dirmetas.set(metadata, checksum);
    }
    return checksum;
  }
}

/**
 * Finds the objects of a tree in a commit that was made of the same tree, so that nothing is read again.
 * Returns false, and what it found until then, where the commit is not that of this tree or not whole.
 */
export function adoptObjects(
  read: ReadMetadata,
  commit: Checksum,
  tree: DirectoryNode,
  objects: ObjectsOfNodes,
): boolean {
  const bytes = read(commit, "commit");
  return bytes !== undefined && adoptDirectory(read, parseCommit(bytes).tree, tree, objects);
}

function adoptDirectory(read: ReadMetadata, checksum: Checksum, node: DirectoryNode, objects: ObjectsOfNodes): boolean {
  const bytes = read(checksum, "dirtree");
  if (bytes === undefined) return false;
  const stored = parseDirtree(bytes);
  const files = new Map(stored.files.map((file) => [file.name, file.checksum]));
  const directories = new Map(stored.directories.map((entry) => [entry.name, entry.tree]));
  for (const [name, child] of node.children) {
    if (child.kind === "directory") {
      const tree = directories.get(name);
      if (tree === undefined || !adoptDirectory(read, tree, child, objects)) return false;
    } else if (child.kind !== "special") {
      const object = files.get(name);
      if (object === undefined) return false;
      objects.set(child, object);
    }
  }
  return true;
}

/** Where a commit's tree is read from. */
export interface CommitSource {
  readonly read: ReadMetadata;
  /** Bytes of a file object; `undefined` where it is missing. */
  readonly sizeOf: (checksum: Checksum) => number | undefined;
}

/** A path that Linux takes has no more bytes (PATH_MAX). */
const maxPath = 4096;
/** Some dirtrees that name each other twice can stand for more files than any disk holds. */
const maxNames = 10_000_000;

/**
 * The tree of a commit, for merging layers over it. Its files' content stays in the repository: their nodes
 * only stand for the objects noted in `objects`. @throws corrupt where an object is missing or wrong
 */
export function treeOfCommit(source: CommitSource, commit: Checksum, objects: ObjectsOfNodes): DirectoryNode {
  const bytes = source.read(commit, "commit");
  if (bytes === undefined) throw incomplete(`commit ${commit}`);
  const { tree, treeMetadata } = parseCommit(bytes);
  return readTree(source, objects, new Map(), { tree, metadata: treeMetadata }, "" as ByteString).node;
}

interface ReadDirectory {
  readonly node: DirectoryNode;
  /** In it and below it. */
  readonly names: number;
}

/** `known`: directories read before, which are one node wherever they are in the tree. */
function readTree(
  source: CommitSource,
  objects: ObjectsOfNodes,
  known: Map<string, ReadDirectory>,
  at: DirectoryObjects,
  path: ByteString,
): ReadDirectory {
  const key = at.tree + at.metadata;
  const before = known.get(key);
  if (before !== undefined) return before;
  if (path.length > maxPath) throw new OneholdError("corrupt", `dirtree ${at.tree} is too deep in its tree`);
  const tree = source.read(at.tree, "dirtree");
  const metadata = source.read(at.metadata, "dirmeta");
  if (tree === undefined || metadata === undefined) throw incomplete(`directory /${displayBytes(path)}`);
  const stored: Dirtree = parseDirtree(tree);
  const children = new Map<ByteString, TreeNode>();
  for (const { name, checksum } of stored.files) {
    const size = source.sizeOf(checksum);
    if (size === undefined) throw incomplete(`object ${checksum} of /${displayBytes(joinBytes(path, name))}`);
    const node: FileNode = {
      kind: "file",
      metadata: unknownMetadata,
      size,
      layer: -1,
      folder: path,
      name,
      mtime: epoch,
    };
    objects.set(node, checksum);
    children.set(name, node);
  }
  let names = stored.files.length + stored.directories.length;
  for (const entry of stored.directories) {
    const below = readTree(source, objects, known, entry, joinBytes(path, entry.name));
    children.set(entry.name, below.node);
    names += below.names;
  }
  if (names > maxNames) throw new OneholdError("corrupt", `dirtree ${at.tree} makes a tree of too many names`);
  const read = { node: directory(parseDirmeta(metadata), children), names };
  known.set(key, read);
  return read;
}

/** A commit's dirtree says neither owner nor mode of a file: its object does. */
const epoch = { seconds: 0, nanoseconds: 0 };
const unknownMetadata: FileMetadata = { uid: 0, gid: 0, mode: 0o100000, xattrs: [] };

function incomplete(what: string): OneholdError {
  return new OneholdError("corrupt", `${what} is neither in the image nor in the ostree repository`, {
    hint: "Run `ostree fsck` on the repository; if it passes, the image is damaged: ask whoever publishes it.",
  });
}
