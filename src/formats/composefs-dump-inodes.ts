import { type ByteString, bytesOf } from "#base/bytes.ts";
import type { DumpLine } from "./composefs-dump-line.ts";
import {
  type ComposefsCompat,
  type ComposefsDirectory,
  type ComposefsInode,
  type ComposefsLeaf,
  faultOfBackingPath,
  fileType,
  type InodeMetadata,
  isWhiteout,
  specialTypeOf,
} from "./composefs-tree.ts";
import { noXattrs, type Xattr } from "./xattrs.ts";

/** A directory that is still being filled. */
export interface OpenDirectory extends ComposefsDirectory {
  readonly entries: Map<ByteString, ComposefsInode>;
}

/** As Linux bounds them: one name, one value, and all names of an inode together. */
const maxXattrName = 255;
const maxXattrValue = 65_535;
const maxXattrNames = 65_535;
/** Bytes of content within the image, and of a symlink's target. */
const limits = { rust: { inline: 512, symlink: 1024 }, c: { inline: 5000, symlink: 4095 } } as const;

const mostInteger32 = 0xffff_ffff;

/** Reads inodes from the lines of one dump file. */
export class DumpInodes {
  readonly #compat: ComposefsCompat;
  readonly #xattrs = new Map<ByteString, Xattr>();

  constructor(compat: ComposefsCompat) {
    this.#compat = compat;
  }

  /** Reads what stands behind the mode of a line that is no hardlink. @throws OneholdError "corrupt" */
  read(line: DumpLine, size: number, mode: number): OpenDirectory | ComposefsLeaf {
    const links = line.integer("number of links", mostInteger32);
    const uid = line.integer("uid", mostInteger32);
    const gid = line.integer("gid", mostInteger32);
    const rdev = line.integer("rdev", mostInteger32);
    const mtime = line.timestamp(this.#compat === "c");
    const payload = this.#optional(line, "payload");
    const content = this.#optional(line, "content");
    const digest = this.#optional(line, "digest");
    const metadata: InodeMetadata = { permissions: mode & 0o7777, uid, gid, mtime, xattrs: this.#parseXattrs(line) };
    const type = mode & fileType.mask;
    if (rdev !== 0 && type !== fileType.char && type !== fileType.block) {
      throw line.corrupt("has a device number, but is no device");
    }
    if (type === fileType.regular) return this.#regularFile(line, metadata, size, payload, content, digest);
    if (content !== undefined) throw line.corrupt("has content, but is no regular file");
    if (digest !== undefined) throw line.corrupt("has a digest, but is no regular file");
    if (type === fileType.directory) return { kind: "directory", metadata, entries: new Map() };
    if (type === fileType.symlink) return { kind: "symlink", metadata, target: this.#target(line, payload) };
    const special = specialTypeOf(mode);
    if (special === undefined) throw line.corrupt(`has the mode ${mode.toString(8)}, which is of no kind of file`);
    const inode = { kind: "special", metadata, type: special, rdev } as const;
    if (this.#compat === "c" || links <= 1 || !isWhiteout(inode)) return inode;
    throw line.corrupt("is a whiteout with several links");
  }

  #target(line: DumpLine, payload: ByteString | undefined): ByteString {
    if (payload === undefined || payload === "") throw line.corrupt("is a symlink without a target");
    const most = limits[this.#compat].symlink;
    if (payload.length > most) throw line.corrupt(`is a symlink with a target of more than ${most} bytes`);
    if (payload.includes("\0")) throw line.corrupt("is a symlink with a NUL in its target");
    return payload;
  }

  #optional(line: DumpLine, what: string): ByteString | undefined {
    if (this.#compat === "c" && !line.hasMore) return undefined;
    return line.optionalText(what);
  }

  #regularFile(
    line: DumpLine,
    metadata: InodeMetadata,
    size: number,
    payload: ByteString | undefined,
    content: ByteString | undefined,
    digest: ByteString | undefined,
  ): ComposefsLeaf {
    const bytes = digest === undefined ? undefined : digestOf(digest, line);
    if (payload === undefined && (content !== undefined || size === 0)) {
      const most = limits[this.#compat].inline;
      if (bytes !== undefined) throw line.corrupt("has a digest, but no backing file");
      const length = content?.length ?? 0;
      if (length > most) throw line.corrupt(`has more than ${most} bytes of content`);
      if (length !== size) throw line.corrupt(`has ${length} bytes of content, but states ${size}`);
      return { kind: "inline", metadata, content: content === undefined ? noContent : bytesOf(content) };
    }
    if (content !== undefined) throw line.corrupt("has both content and a backing file");
    const fault = payload === undefined ? undefined : faultOfBackingPath(payload);
    if (fault !== undefined) throw line.corrupt(fault);
    return { kind: "external", metadata, size, path: payload ?? nowhere, digest: bytes };
  }

  #parseXattrs(line: DumpLine): readonly Xattr[] {
    if (!line.hasMore) return noXattrs;
    const xattrs: Xattr[] = [];
    let names = 0;
    while (line.hasMore) {
      const xattr = this.#parseXattr(line, line.raw("xattr"));
      names += xattr.name.length;
      if (names > maxXattrNames) throw line.corrupt(`has more than ${maxXattrNames} bytes of names of xattrs`);
      xattrs.push(xattr);
    }
    if (xattrs.length === 1) return xattrs;
    const distinct = new Map(xattrs.map((xattr) => [xattr.name, xattr]));
    if (distinct.size === xattrs.length) return xattrs;
    if (this.#compat === "rust") throw line.corrupt("has an xattr twice");
    return [...distinct.values()];
  }

  /** The labels of a tree repeat: one object for all inodes that have one. */
  #parseXattr(line: DumpLine, text: ByteString): Xattr {
    const known = this.#xattrs.get(text);
    if (known !== undefined) return known;
    const middle = text.indexOf("=");
    if (middle < 0) throw line.corrupt("has an xattr without a value");
    const name = line.unescape(text.slice(0, middle) as ByteString);
    const value = line.unescape(text.slice(middle + 1) as ByteString);
    if (name === "" || name.includes("\0")) throw line.corrupt("has an xattr with an empty name, or a NUL in it");
    if (name.length > maxXattrName) throw line.corrupt(`has an xattr whose name is longer than ${maxXattrName} bytes`);
    if (value.length > maxXattrValue) throw line.corrupt(`has an xattr of more than ${maxXattrValue} bytes`);
    const xattr: Xattr = { name, value: bytesOf(value) };
    if (text.length <= 256 && this.#xattrs.size < 4096) this.#xattrs.set(text, xattr);
    return xattr;
  }
}

const noContent = Buffer.alloc(0);
const nowhere = "" as ByteString;

function digestOf(hex: ByteString, line: DumpLine): Buffer {
  const digest = hex.length === 64 || hex.length === 128 ? Buffer.from(hex, "hex") : noContent;
  if (digest.length * 2 === hex.length && digest.length > 0) return digest;
  throw line.corrupt("has a digest that is neither 64 nor 128 hex digits");
}
