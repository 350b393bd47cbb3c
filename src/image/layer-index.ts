import { createHash, hash } from "node:crypto";
import { type ByteString, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Timestamp } from "#formats/composefs-tree.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { noXattrs, ownCopy, type Xattr } from "#formats/xattrs.ts";
import { ByteReader, ByteWriter } from "./byte-stream.ts";
import type { DirectoryNode, FileNode, SpecialNode, SymlinkNode, TreeNode } from "./tree.ts";

/**
 * A layer's tree and what the stores named its files, in a form that is read ten times faster than the layer's tar
 * headers. It is a cache, for the layers that many versions of an image share: see docs/formats.md.
 */
export interface LayerIndex<Names = StoreNames> {
  readonly tree: DirectoryNode;
  readonly names: readonly Names[];
}

/** What one store calls the files of a layer. */
export interface StoreNames {
  /** Which store, and what of it the names belong to: they hold only as long as that is there. */
  readonly store: string;
  /** Bytes of a name. */
  readonly length: number;
  /** Of a file or symlink that the store has, in hex. */
  readonly of: (node: FileNode | SymlinkNode) => string | undefined;
}

/** The same as it is read. */
export interface ReadStoreNames extends Omit<StoreNames, "of"> {
  readonly of: ReadonlyMap<FileNode | SymlinkNode, string>;
}

const magic = "onehold layer 1\n";
const digestLength = 32;

const kinds = { directory: 0, file: 1, symlink: 2, special: 3, again: 4 } as const;
const specialTypes = ["fifo", "char", "block", "socket"] as const;
const flagImplied = 1;
const flagOpaque = 2;
const flagTimed = 4;

/** `write` is given the bytes, piece by piece, each valid until it returns. */
export function serializeLayerIndex({ tree, names }: LayerIndex, write: (piece: Buffer) => void): void {
  const sum = createHash("sha256");
  const writer = new ByteWriter((piece) => {
    sum.update(piece);
    write(piece);
  });
  writer.raw(Buffer.from(magic));
  writer.number(names.length);
  for (const { store, length } of names) {
    writer.text(store as ByteString);
    writer.number(length);
  }
  new IndexWriter(writer, names).directory(tree, "" as ByteString);
  writer.flush();
  write(sum.digest());
}

/** `layer`: what its files' nodes shall say, see tree.ts. @throws OneholdError "corrupt" */
export function parseLayerIndex(bytes: Buffer, layer: number): LayerIndex<ReadStoreNames> {
  const content = bytes.subarray(0, Math.max(0, bytes.length - digestLength));
  const sum = bytes.subarray(content.length);
  if (!content.subarray(0, magic.length).equals(Buffer.from(magic)) || !hash("sha256", content, "buffer").equals(sum)) {
    throw new OneholdError("corrupt", "the layer index is of another version, or damaged");
  }
  const reader = new ByteReader(content, magic.length);
  const names = Array.from({ length: reader.count() }, () => ({
    store: reader.text() as string,
    length: reader.number(),
    of: new Map<FileNode | SymlinkNode, string>(),
  }));
  return { tree: new IndexReader(reader, names, layer).root(), names };
}

class IndexWriter {
  readonly #writer: ByteWriter;
  readonly #names: readonly StoreNames[];
  readonly #metadata = new Map<FileMetadata, number>();
  readonly #times = new Map<Timestamp, number>();
  readonly #nodes = new Map<TreeNode, number>();

  constructor(writer: ByteWriter, names: readonly StoreNames[]) {
    this.#writer = writer;
    this.#names = names;
  }

  directory(node: DirectoryNode, path: ByteString): void {
    const writer = this.#writer;
    writer.number(
      (node.implied === true ? flagImplied : 0) |
        (node.opaque ? flagOpaque : 0) |
        (node.mtime === undefined ? 0 : flagTimed),
    );
    this.#metadataOf(node.metadata);
    if (node.mtime !== undefined) this.#time(node.mtime);
    writer.number(node.whiteouts.size);
    for (const whiteout of node.whiteouts) writer.text(whiteout);
    writer.number(node.children.size);
    for (const [name, child] of node.children) {
      writer.text(name);
      this.#node(child, path, name);
    }
  }

  #node(node: TreeNode, folder: ByteString, name: ByteString): void {
    const writer = this.#writer;
    const before = this.#nodes.get(node);
    if (before !== undefined) {
      writer.number(kinds.again);
      writer.number(before);
      return;
    }
    writer.number(kinds[node.kind]);
    if (node.kind === "directory") {
      this.directory(node, joinBytes(folder, name));
      return;
    }
    this.#nodes.set(node, this.#nodes.size);
    this.#metadataOf(node.metadata);
    this.#time(node.mtime);
    if (node.kind === "special") {
      writer.number(specialTypes.indexOf(node.type));
      writer.number(node.deviceMajor);
      writer.number(node.deviceMinor);
      return;
    }
    if (node.kind === "symlink") writer.text(node.target);
    else {
      writer.number(node.size);
      // Nearly always its content is where its first name is.
      const elsewhere = node.folder !== folder || node.name !== name;
      writer.number(elsewhere ? 1 : 0);
      if (elsewhere) {
        writer.text(node.folder);
        writer.text(node.name);
      }
    }
    for (const { of } of this.#names) {
      const stored = of(node);
      writer.number(stored === undefined ? 0 : 1);
      if (stored !== undefined) writer.hex(stored);
    }
  }

  #metadataOf(metadata: FileMetadata): void {
    const writer = this.#writer;
    const before = this.#metadata.get(metadata);
    if (before !== undefined) {
      writer.number(before + 1);
      return;
    }
    this.#metadata.set(metadata, this.#metadata.size);
    writer.number(0);
    writer.number(metadata.uid);
    writer.number(metadata.gid);
    writer.number(metadata.mode);
    writer.number(metadata.xattrs.length);
    for (const { name, value } of metadata.xattrs) {
      writer.text(name);
      writer.number(value.length);
      writer.raw(value);
    }
  }

  #time(time: Timestamp): void {
    const before = this.#times.get(time);
    if (before !== undefined) {
      this.#writer.number(before + 1);
      return;
    }
    this.#times.set(time, this.#times.size);
    this.#writer.number(0);
    this.#writer.double(time.seconds);
    this.#writer.number(time.nanoseconds);
  }
}

class IndexReader {
  readonly #reader: ByteReader;
  readonly #names: readonly { readonly length: number; readonly of: Map<FileNode | SymlinkNode, string> }[];
  readonly #layer: number;
  readonly #metadata: FileMetadata[] = [];
  readonly #times: Timestamp[] = [];
  readonly #nodes: Exclude<TreeNode, DirectoryNode>[] = [];

  constructor(
    reader: ByteReader,
    names: readonly { readonly length: number; readonly of: Map<FileNode | SymlinkNode, string> }[],
    layer: number,
  ) {
    this.#reader = reader;
    this.#names = names;
    this.#layer = layer;
  }

  root(): DirectoryNode {
    const node = this.#directory("" as ByteString);
    this.#reader.demandEnd();
    return node;
  }

  #directory(path: ByteString): DirectoryNode {
    const reader = this.#reader;
    const flags = reader.number();
    const metadata = this.#metadataOf();
    const mtime = (flags & flagTimed) === 0 ? undefined : this.#time();
    const whiteouts = new Set<ByteString>();
    for (let left = reader.count(); left > 0; left--) whiteouts.add(reader.text());
    const children = new Map<ByteString, TreeNode>();
    for (let left = reader.count(); left > 0; left--) {
      const name = reader.text();
      children.set(name, this.#node(path, name));
    }
    return {
      kind: "directory",
      metadata,
      children,
      whiteouts,
      opaque: (flags & flagOpaque) !== 0,
      ...((flags & flagImplied) === 0 ? {} : { implied: true }),
      ...(mtime === undefined ? {} : { mtime }),
    };
  }

  #node(folder: ByteString, name: ByteString): TreeNode {
    const reader = this.#reader;
    const kind = reader.number();
    if (kind === kinds.directory) return this.#directory(joinBytes(folder, name));
    if (kind === kinds.again) return reader.demand(this.#nodes[reader.number()]);
    const metadata = this.#metadataOf();
    const mtime = this.#time();
    if (kind === kinds.special) {
      const type = reader.demand(specialTypes[reader.number()]);
      const special: SpecialNode = {
        kind: "special",
        metadata,
        type,
        deviceMajor: reader.number(),
        deviceMinor: reader.number(),
        mtime,
      };
      this.#nodes.push(special);
      return special;
    }
    const node =
      kind === kinds.symlink
        ? ({ kind: "symlink", metadata, target: reader.text(), mtime } satisfies SymlinkNode)
        : this.#file(folder, name, metadata, mtime);
    this.#nodes.push(node);
    for (const { length, of } of this.#names) if (reader.number() === 1) of.set(node, reader.hex(length));
    return node;
  }

  #file(folder: ByteString, name: ByteString, metadata: FileMetadata, mtime: Timestamp): FileNode {
    const reader = this.#reader;
    const size = reader.number();
    const elsewhere = reader.number() === 1;
    return {
      kind: "file",
      metadata,
      size,
      layer: this.#layer,
      folder: elsewhere ? reader.text() : folder,
      name: elsewhere ? reader.text() : name,
      mtime,
    };
  }

  #metadataOf(): FileMetadata {
    const reader = this.#reader;
    const index = reader.number();
    if (index > 0) return reader.demand(this.#metadata[index - 1]);
    const metadata = { uid: reader.number(), gid: reader.number(), mode: reader.number(), xattrs: this.#xattrs() };
    this.#metadata.push(metadata);
    return metadata;
  }

  #xattrs(): readonly Xattr[] {
    const reader = this.#reader;
    const count = reader.count();
    if (count === 0) return noXattrs;
    return Array.from({ length: count }, () => ({ name: reader.text(), value: ownCopy(reader.raw(reader.number())) }));
  }

  #time(): Timestamp {
    const reader = this.#reader;
    const index = reader.number();
    if (index > 0) return reader.demand(this.#times[index - 1]);
    const time = { seconds: reader.double(), nanoseconds: reader.number() };
    this.#times.push(time);
    return time;
  }
}
