import { byteString, type ByteString, displayBytes } from "#base/bytes.ts";
import {
  type ComposefsDirectory,
  type ComposefsInode,
  type ComposefsLeaf,
  fileType,
  isWhiteout,
  maxNames,
  maxPath,
  specialTypeOf,
} from "./composefs-tree.ts";
import { DataReader, type Dirent } from "./erofs-data.ts";
import { blockSize, direntTypeOfMode, layout, slotSize, stubNames } from "./erofs-format.ts";
import { metadataOf, readInode, type StoredInode } from "./erofs-inode.ts";
import * as overlay from "./erofs-overlay.ts";
import { ImageSpace } from "./erofs-space.ts";
import { corruptImage, readSuperblock, type Superblock } from "./erofs-superblock.ts";
import { type ReadXattrs, XattrReader } from "./erofs-xattr-reader.ts";

/** Bytes of a file's own content, and of a symlink's target, in formats 0 and 1, and in format 2. */
const limits = { early: { inline: 5000, symlink: 4095 }, late: { inline: 512, symlink: 1024 } } as const;

/**
 * Reads a whole image and checks all that it reads, by the rules of composefs-rs: a hostile one costs no more memory or
 * time than a good one of its size. What writers add for overlayfs is taken out: the stubs of the root, xattrs, and
 * the form that whiteouts have in formats 0 and 1. Format 2 has no nanoseconds.
 * @throws OneholdError "corrupt", or "unsupported" for what is not a composefs image of a known format
 */
export function readErofs(bytes: Buffer): ComposefsDirectory {
  return new ErofsReader(bytes).read();
}

/** A leaf that says it has several names. */
interface Linked {
  readonly leaf: ComposefsLeaf;
  readonly type: number;
  readonly stated: number;
  names: number;
}

class ErofsReader {
  readonly #view: DataView;
  readonly #superblock: Superblock;
  readonly #isEarly: boolean;
  readonly #xattrs: XattrReader;
  readonly #data: DataReader;
  readonly #linked = new Map<number, Linked>();
  #inodes = 0;
  #names = 0;

  constructor(bytes: Buffer) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#superblock = readSuperblock(bytes);
    this.#isEarly = this.#superblock.format !== 2;
    this.#xattrs = new XattrReader(bytes, this.#superblock);
    this.#data = new DataReader(bytes, new ImageSpace(bytes.length), this.#superblock.format);
  }

  read(): ComposefsDirectory {
    const { rootNid, inodes } = this.#superblock;
    const root = this.#readDirectory(rootNid, rootNid, 0);
    for (const { stated, names } of this.#linked.values()) {
      if (stated !== names) throw corruptImage(`a file with ${names} names states ${stated}`);
    }
    if (this.#inodes !== inodes) throw corruptImage(`it has ${this.#inodes} inodes and states ${inodes}`);
    return root;
  }

  /** @param pathLength bytes of the path to it, without a slash at its end */
  #readDirectory(nid: number, parent: number, pathLength: number): ComposefsDirectory {
    const inode = this.#readInode(nid, fileType.directory);
    const isRoot = nid === this.#superblock.rootNid;
    const { own, metacopy, redirect, opaque } = this.#xattrs.read(inode);
    const isOpaqueRoot = isRoot && this.#isEarly && opaque === overlay.opaqueRoot;
    if (metacopy !== undefined || redirect !== undefined || (opaque !== undefined && !isOpaqueRoot))
      throw misplaced(nid);
    const entries = new Map<ByteString, ComposefsInode>();
    const dots = new Map<string, number>();
    let links = 2;
    let stubs = 0;
    let hasWhiteouts = false;
    for (const dirent of this.#data.dirents(inode)) {
      const { name, nid: child, type } = dirent;
      if (name === "." || name === "..") {
        dots.set(name, child);
        continue;
      }
      const length = pathLength + 1 + name.length;
      if (length > maxPath) throw corruptImage(`it has a path of more than ${maxPath} bytes`);
      if (++this.#names > maxNames) throw corruptImage(`it has more than ${maxNames} names`);
      const mayBeStub = isRoot && this.#isEarly && stubNameSet.has(name);
      if (mayBeStub) stubs++;
      if (type === directoryType) {
        links++;
        entries.set(name, this.#readDirectory(child, nid, length));
        continue;
      }
      const leaf = this.#readName(dirent);
      if (this.#isEarly && isWhiteout(leaf)) {
        if (type !== charType) hasWhiteouts = true;
        else if (mayBeStub) continue;
        else throw corruptImage(`it has a whiteout at ${displayBytes(name)} that overlayfs would act on`);
      }
      entries.set(name, leaf);
    }
    if (dots.get(".") !== nid || dots.get("..") !== parent)
      throw corruptImage(`the directory ${nid} is not where it says`);
    if (inode.links !== links) throw corruptImage(`the directory ${nid} has ${links} links and states ${inode.links}`);
    if (isRoot && this.#isEarly && stubs !== stubNames.length)
      throw corruptImage("its root shows the folder of objects");
    const xattrs = hasWhiteouts ? overlay.withoutXattrs(own, overlay.xattrsOfWhiteouts(this.#superblock.format)) : own;
    return { kind: "directory", metadata: metadataOf(inode, xattrs), entries };
  }

  /** The leaf at a name: a new one, or one that has been read already and has several. */
  #readName({ nid, type }: Dirent): ComposefsLeaf {
    const known = this.#linked.get(nid);
    if (known !== undefined) {
      known.names++;
      if (known.type !== type) throw corruptImage(`the inode ${nid} is of two types`);
      return known.leaf;
    }
    const mode = modesOfDirents.get(type);
    if (mode === undefined) throw corruptImage("a directory has an entry of an unknown type");
    const inode = this.#readInode(nid, mode);
    const leaf = this.#readLeaf(inode);
    if (inode.links === 1) return leaf;
    if (isWhiteout(leaf)) throw corruptImage("it has a whiteout with several names");
    this.#linked.set(nid, { leaf, type, stated: inode.links, names: 1 });
    return leaf;
  }

  #readInode(nid: number, type: number): StoredInode {
    this.#inodes++;
    const inode = readInode(this.#view, nid, this.#superblock.time);
    if ((inode.mode & fileType.mask) !== type)
      throw corruptImage(`the inode ${nid} is not of the type that its name says`);
    return inode;
  }

  #readLeaf(inode: StoredInode): ComposefsLeaf {
    const xattrs = this.#xattrs.read(inode);
    if (xattrs.opaque !== undefined) throw misplaced(inode.nid);
    const metadata = metadataOf(inode, xattrs.own);
    const isRegular = (inode.mode & fileType.mask) === fileType.regular;
    if (isRegular && inode.layout === layout.chunks) return this.#readExternal(inode, xattrs);
    if (xattrs.metacopy !== undefined || xattrs.redirect !== undefined) throw misplaced(inode.nid);
    if (isRegular) {
      if (inode.size === 0 && overlay.hasWhiteoutMark(xattrs.own)) return this.#readEscaped(inode, xattrs);
      this.#demandSize(inode, "inline");
      return { kind: "inline", metadata, content: this.#data.content(inode) };
    }
    const type = specialTypeOf(inode.mode);
    if (type !== undefined) {
      this.#data.demandEmpty(inode);
      const isDevice = type === "char" || type === "block";
      if (!isDevice && inode.union !== 0)
        throw corruptImage(`the inode ${inode.nid} has a number of a device, and is none`);
      return { kind: "special", metadata, type, rdev: inode.union };
    }
    return { kind: "symlink", metadata, target: this.#readTarget(inode) };
  }

  #readTarget(inode: StoredInode): ByteString {
    const { nid, tailStart, size } = inode;
    this.#demandSize(inode, "symlink");
    const crosses = Math.floor((nid * slotSize) / blockSize) !== Math.floor((tailStart + size - 1) / blockSize);
    if (this.#isEarly && inode.layout === layout.inline && crosses) {
      throw corruptImage(`the symlink ${nid} lies across two blocks`);
    }
    const target = byteString(this.#data.content(inode));
    if (target === "" || target.includes("\0")) throw corruptImage(`the symlink ${nid} has a target that can't be`);
    return target;
  }

  #readExternal(inode: StoredInode, { own, metacopy, redirect }: ReadXattrs): ComposefsLeaf {
    if (metacopy === undefined) throw corruptImage(`the file ${inode.nid} has its content neither here nor elsewhere`);
    this.#data.demandHoles(inode);
    const { digest } = metacopy;
    return { kind: "external", metadata: metadataOf(inode, own), size: inode.size, path: redirect ?? nowhere, digest };
  }

  #readEscaped(inode: StoredInode, { own }: ReadXattrs): ComposefsLeaf {
    if (!this.#isEarly) throw corruptImage(`the file ${inode.nid} is a whiteout in the form of an older format`);
    this.#data.demandEmpty(inode);
    const metadata = metadataOf(inode, overlay.withoutXattrs(own, overlay.xattrsOfWhiteout));
    return { kind: "special", metadata, type: "char", rdev: 0 };
  }

  #demandSize({ nid, size }: StoredInode, kind: "inline" | "symlink"): void {
    const most = limits[this.#isEarly ? "early" : "late"][kind];
    if (size > most) throw corruptImage(`the inode ${nid} has ${size} bytes of data of its own: at most ${most}`);
  }
}

const nowhere = "" as ByteString;
const stubNameSet: ReadonlySet<ByteString> = new Set(stubNames);
const modesOfDirents: ReadonlyMap<number, number> = new Map(
  Object.values(fileType)
    .filter((mode) => mode !== fileType.mask && mode !== fileType.directory)
    .map((mode) => [direntTypeOfMode(mode), mode]),
);
const directoryType = direntTypeOfMode(fileType.directory);
const charType = direntTypeOfMode(fileType.char);

function misplaced(nid: number) {
  return corruptImage(`the inode ${nid} has an xattr of overlayfs that has no business there`);
}
