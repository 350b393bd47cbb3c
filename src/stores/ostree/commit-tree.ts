import fs from "node:fs";
import path from "node:path";
import { type ByteString, byteString, byteStringOfText, displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import { type Dirtree, parseDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, type FileMetadata, parseDirmeta } from "#formats/ostree-objects.ts";
import type { Xattr } from "#formats/xattrs.ts";
import { directory, type DirectoryNode, type FileNode, type SymlinkNode, type TreeNode } from "#image/tree.ts";
import { readXattrs } from "./file-objects.ts";
import type { DirectoryObjects, ObjectsOfNodes, ReadMetadata } from "./trees.ts";

/** Where a commit's tree is read from. */
export interface CommitSource {
  readonly read: ReadMetadata;
  /** The repository's folder. */
  readonly root: string;
  /** Where below `root` a file object is; `undefined` where it is missing. */
  readonly find: (checksum: Checksum) => { readonly path: string; readonly stat: fs.Stats } | undefined;
}

/** A path that Linux takes has no more bytes (PATH_MAX). */
const maxPath = 4096;
/** Some dirtrees that name each other twice can stand for more files than any disk holds; labels are a matter of each. */
const maxNames = 2_000_000;

/** Content that no layer's files hold: its node's path is that of an object in the repository. */
export const repositoryLayer = -1;

/**
 * The tree of a commit, for merging layers over it. Its files' content stays in the repository: their nodes are the
 * objects noted in `objects`. @throws corrupt where an object is missing or wrong
 */
export function treeOfCommit(source: CommitSource, commit: Checksum, objects: ObjectsOfNodes): DirectoryNode {
  const bytes = source.read(commit, "commit");
  if (bytes === undefined) throw incomplete(`commit ${commit}`);
  const { tree, treeMetadata } = parseCommit(bytes);
  return new CommitReader(source, objects).directory({ tree, metadata: treeMetadata }, "" as ByteString).node;
}

interface ReadDirectory {
  readonly node: DirectoryNode;
  /** In it and below it. */
  readonly names: number;
}

class CommitReader {
  readonly #source: CommitSource;
  readonly #objects: ObjectsOfNodes;
  /** Directories read before, which are one node wherever they are in the tree. */
  readonly #directories = new Map<string, ReadDirectory>();
  readonly #files = new Map<Checksum, FileNode | SymlinkNode>();

  constructor(source: CommitSource, objects: ObjectsOfNodes) {
    this.#source = source;
    this.#objects = objects;
  }

  directory(at: DirectoryObjects, here: ByteString): ReadDirectory {
    const key = at.tree + at.metadata;
    const before = this.#directories.get(key);
    if (before !== undefined) return before;
    if (here.length > maxPath) throw new OneholdError("corrupt", `dirtree ${at.tree} is too deep in its tree`);
    const tree = this.#source.read(at.tree, "dirtree");
    const metadata = this.#source.read(at.metadata, "dirmeta");
    if (tree === undefined || metadata === undefined) throw incomplete(`directory /${displayBytes(here)}`);
    const stored: Dirtree = parseDirtree(tree);
    const children = new Map<ByteString, TreeNode>();
    for (const { name, checksum } of stored.files) children.set(name, this.#file(checksum, joinBytes(here, name)));
    let names = stored.files.length + stored.directories.length;
    for (const entry of stored.directories) {
      const below = this.directory(entry, joinBytes(here, entry.name));
      children.set(entry.name, below.node);
      names += below.names;
    }
    if (names > maxNames) throw new OneholdError("corrupt", `dirtree ${at.tree} makes a tree of too many names`);
    const read = { node: directory(parseDirmeta(metadata), children), names };
    this.#directories.set(key, read);
    return read;
  }

  #file(checksum: Checksum, here: ByteString): FileNode | SymlinkNode {
    const before = this.#files.get(checksum);
    if (before !== undefined) return before;
    const found = this.#source.find(checksum);
    if (found === undefined) throw incomplete(`object ${checksum} of /${displayBytes(here)}`);
    const { stat } = found;
    const object = path.join(this.#source.root, found.path);
    const metadata = new ObjectMetadata(object, stat);
    const node: FileNode | SymlinkNode = stat.isSymbolicLink()
      ? { kind: "symlink", metadata, target: byteString(fs.readlinkSync(object, "buffer")), mtime: epoch }
      : {
          kind: "file",
          metadata,
          size: stat.size,
          layer: repositoryLayer,
          folder: byteStringOfText(path.dirname(found.path)),
          name: byteStringOfText(path.basename(found.path)),
          mtime: epoch,
        };
    this.#files.set(checksum, node);
    this.#objects.set(node, checksum);
    return node;
  }
}

const epoch = { seconds: 0, nanoseconds: 0 };

/** A commit's dirtree says neither owner nor mode of a file: its object does. xattrs are read where they matter: for labels. */
class ObjectMetadata implements FileMetadata {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly #object: string;
  #xattrs: readonly Xattr[] | undefined;

  constructor(object: string, { uid, gid, mode }: fs.Stats) {
    this.uid = uid;
    this.gid = gid;
    this.mode = mode;
    this.#object = object;
  }

  get xattrs(): readonly Xattr[] {
    return (this.#xattrs ??= readXattrs({ path: this.#object }));
  }
}

function incomplete(what: string): OneholdError {
  return new OneholdError("corrupt", `${what} is neither in the image nor in the ostree repository`, {
    hint: "Run `ostree fsck` on the repository; if it passes, the image is damaged: ask whoever publishes it.",
  });
}
