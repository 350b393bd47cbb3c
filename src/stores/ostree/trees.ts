import { type ByteString, displayBytes } from "#base/bytes.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import { parseDirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, checksumOf, type FileMetadata, serializeDirmeta } from "#formats/ostree-objects.ts";
import type { DirectoryNode, FileNode, SymlinkNode, TreeNode } from "#image/tree.ts";
import { isWhiteoutFile } from "./whiteout-files.ts";

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

/** Serialises trees bottom-up. `makeEmpty` makes an object of an empty file: those that stand for whiteouts are in no layer. */
export class TreeSerializer {
  readonly #objects: ObjectsOfNodes;
  readonly #put: PutMetadata;
  readonly #makeEmpty: (metadata: FileMetadata) => Checksum;
  readonly #dirmetas = new Map<FileMetadata, Checksum>();
  /** Merging keeps what an upper layer does not touch, so most of a merged tree has been serialised with its layers. */
  readonly #done = new Map<DirectoryNode, DirectoryObjects>();

  constructor(objects: ObjectsOfNodes, put: PutMetadata, makeEmpty: (metadata: FileMetadata) => Checksum) {
    this.#objects = objects;
    this.#put = put;
    this.#makeEmpty = makeEmpty;
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
    const bytes = serializeDirtree({ files, directories });
    const tree = checksumOf(bytes);
    this.#put(tree, "dirtree", bytes);
    return { tree, metadata: this.dirmeta(node.metadata) };
  }

  #objectOf(name: ByteString, node: Exclude<TreeNode, DirectoryNode>): Checksum {
    const checksum = node.kind === "special" ? undefined : this.#objects.get(node);
    if (checksum !== undefined) return checksum;
    if (node.kind !== "file" || !isWhiteoutFile(node)) throw new Error(`${displayBytes(name)} has no object`);
    const made = this.#makeEmpty(node.metadata);
    this.#objects.set(node, made);
    return made;
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
 * Finds the objects of a tree in a commit that was made of the same tree, labels aside. Returns false, and what it
 * found until then, where the commit is not that of this tree or not whole.
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
    } else if (child.kind !== "special" && !isWhiteoutFile(child)) {
      const object = files.get(name);
      if (object === undefined) return false;
      objects.set(child, object);
    }
  }
  return true;
}
