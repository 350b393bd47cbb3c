import { type ByteString, bytesOf, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { DumpLine } from "./composefs-dump-line.ts";
import {
  type ComposefsDirectory,
  type ComposefsInode,
  type ComposefsLeaf,
  faultOfBackingPath,
  faultOfName,
  fileType,
  type InodeMetadata,
  isWhiteout,
  specialTypeOf,
} from "./composefs-tree.ts";
import { noXattrs, type Xattr } from "./xattrs.ts";

/** What a dump file is read as: by the rules of composefs-rs, or also what mkcomposefs takes. */
export type DumpDialect = "rust" | "c";

/** Bytes. The xattrs that an inode of EROFS can hold, each byte escaped as four, and the rest. */
const maxLine = 2 << 20;
const maxPath = 4096;
/** As Linux bounds them: one name, one value, and all names of an inode together. */
const maxXattrName = 255;
const maxXattrValue = 65_535;
const maxXattrNames = 65_535;
/** Bytes of content within the image, and of a symlink's target. */
const limits = { rust: { inline: 512, symlink: 1024 }, c: { inline: 5000, symlink: 4095 } } as const;

const newline = 0x0a;
const mostInteger32 = 0xffff_ffff;

interface OpenDirectory extends ComposefsDirectory {
  readonly entries: Map<ByteString, ComposefsInode>;
}

interface PendingLink {
  readonly parent: OpenDirectory;
  readonly name: ByteString;
  readonly target: ByteString;
  readonly line: DumpLine;
}

/**
 * Parses a dump file, the text form of a composefs tree: one line an inode, each directory before what is in it.
 * The lines arrive in chunks of any size. With "c", hardlinks may come before their target, an xattr may come
 * twice (the last counts), times may be negative, fields after the time may be missing, and content and link
 * targets be as long as mkcomposefs takes them.
 */
export class DumpParser {
  readonly #dialect: DumpDialect;
  readonly #directories = new Map<string, OpenDirectory>();
  readonly #links = new Map<ByteString, PendingLink>();
  readonly #xattrs = new Map<ByteString, Xattr>();
  #pieces: Buffer[] = [];
  #pending = 0;
  #number = 1;

  constructor(dialect: DumpDialect = "rust") {
    this.#dialect = dialect;
  }

  /** @throws OneholdError "corrupt" */
  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      this.#demandRoom(end - start);
      if (this.#pending === 0) {
        this.#parse(chunk, start, end);
      } else {
        const line = Buffer.concat([...this.#pieces, chunk.subarray(start, end)]);
        this.#pieces = [];
        this.#pending = 0;
        this.#parse(line, 0, line.length);
      }
      start = end + 1;
    }
    if (start === chunk.length) return;
    this.#demandRoom(chunk.length - start);
    this.#pending += chunk.length - start;
    this.#pieces.push(Buffer.from(chunk.subarray(start))); // the caller may fill its chunk anew
  }

  /** The tree, once all has been pushed; the last line needs no newline. @throws OneholdError "corrupt" */
  end(): ComposefsDirectory {
    if (this.#pending > 0) this.push(Buffer.of(newline));
    this.#resolveLinks();
    const root = this.#directories.get("");
    if (root === undefined)
      throw new OneholdError("corrupt", "a dump file is empty: it has not even the root directory");
    return root;
  }

  #demandRoom(length: number): void {
    if (this.#pending + length <= maxLine) return;
    throw new OneholdError("corrupt", `line ${this.#number} of a dump file is longer than ${maxLine} bytes`);
  }

  #parse(bytes: Buffer, start: number, end: number): void {
    const line = new DumpLine(bytes, start, end, this.#number++);
    const path = line.text("path");
    const size = line.integer("size", Number.MAX_SAFE_INTEGER);
    const { mode, isHardlink } = line.mode();
    if (isHardlink) {
      this.#parseHardlink(line, path, mode);
      return;
    }
    const inode = this.#parseInode(line, size, mode);
    if (path === "/") {
      if (inode.kind !== "directory") throw line.corrupt("has a root that is no directory");
      if (this.#directories.size > 0) throw line.corrupt("has a second root directory");
      this.#directories.set("", inode);
      return;
    }
    const { parent, name } = this.#place(line, path);
    parent.entries.set(name, inode);
    if (inode.kind === "directory") this.#directories.set(path, inode);
  }

  #parseHardlink(line: DumpLine, path: ByteString, mode: number): void {
    if ((mode & fileType.mask) === fileType.directory) throw line.corrupt("is a hardlink of a directory");
    for (const field of ["number of links", "uid", "gid", "rdev", "time"]) line.skip(field);
    const target = line.optionalText("hardlink target");
    if (target === undefined) throw line.corrupt("is a hardlink without a target");
    const { parent, name } = this.#place(line, path);
    if (this.#dialect === "c") {
      parent.entries.set(name, unresolved);
      this.#links.set(path, { parent, name, target, line });
      return;
    }
    const inode = this.#leafAt(target, line);
    if (isWhiteout(inode)) throw line.corrupt("is a second link to a whiteout");
    parent.entries.set(name, inode);
  }

  /** Of "c" alone. A hardlink may be one of a hardlink, before or after it. */
  #resolveLinks(): void {
    for (const first of this.#links.values()) {
      const chain = new Set<PendingLink>();
      let link = first;
      let inode = link.parent.entries.get(link.name);
      while (inode === unresolved) {
        if (chain.has(link)) throw link.line.corrupt("is a hardlink of itself");
        chain.add(link);
        inode = this.#leafAt(link.target, link.line);
        link = this.#links.get(link.target) ?? link;
      }
      for (const { parent, name } of chain) if (inode !== undefined) parent.entries.set(name, inode);
    }
  }

  #leafAt(path: ByteString, line: DumpLine): ComposefsLeaf {
    const slash = path.lastIndexOf("/");
    const directory = slash < 0 ? undefined : this.#directories.get(path.slice(0, slash));
    const inode = directory?.entries.get(path.slice(slash + 1) as ByteString);
    if (inode === undefined) {
      const where = this.#dialect === "c" ? "is not there" : "does not come before it";
      throw line.corrupt(`is a hardlink of "${displayBytes(path)}", which ${where}`);
    }
    if (inode.kind === "directory") throw line.corrupt("is a hardlink of a directory");
    return inode;
  }

  /** The directory and the name that a path stands for: the directory must be there, the name not yet. */
  #place(line: DumpLine, path: ByteString): { readonly parent: OpenDirectory; readonly name: ByteString } {
    if (path.length > maxPath) throw line.corrupt(`has a path of more than ${maxPath} bytes`);
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? undefined : this.#directories.get(path.slice(0, slash));
    if (parent === undefined) {
      throw line.corrupt(`has the path "${displayBytes(path)}", whose directory does not come before it`);
    }
    const name = path.slice(slash + 1) as ByteString;
    const fault = faultOfName(name);
    if (fault !== undefined) throw line.corrupt(fault);
    if (parent.entries.has(name)) throw line.corrupt(`has the path ${displayBytes(path)} a second time`);
    return { parent, name };
  }

  #parseInode(line: DumpLine, size: number, mode: number): OpenDirectory | ComposefsLeaf {
    const links = line.integer("number of links", mostInteger32);
    const uid = line.integer("uid", mostInteger32);
    const gid = line.integer("gid", mostInteger32);
    const rdev = line.integer("rdev", mostInteger32);
    const mtime = line.timestamp(this.#dialect === "c");
    const payload = this.#optional(line, "payload");
    const content = this.#optional(line, "content");
    const digest = this.#optional(line, "digest");
    const metadata: InodeMetadata = { permissions: mode & 0o7777, uid, gid, mtime, xattrs: this.#parseXattrs(line) };
    const type = mode & fileType.mask;
    if (type === fileType.regular) {
      if (rdev !== 0) throw line.corrupt("has a device number, but is no device");
      return this.#regularFile(line, metadata, size, payload, content, digest);
    }
    if (content !== undefined) throw line.corrupt("has content, but is no regular file");
    if (digest !== undefined) throw line.corrupt("has a digest, but is no regular file");
    const special = specialTypeOf(mode);
    if (special !== undefined) {
      const isDevice = special === "char" || special === "block";
      if (rdev !== 0 && !isDevice) throw line.corrupt("has a device number, but is no device");
      const inode = { kind: "special", metadata, type: special, rdev } as const;
      if (this.#dialect === "rust" && links > 1 && isWhiteout(inode))
        throw line.corrupt("is a whiteout with several links");
      return inode;
    }
    if (rdev !== 0) throw line.corrupt("has a device number, but is no device");
    if (type === fileType.directory) return { kind: "directory", metadata, entries: new Map() };
    if (type !== fileType.symlink) throw line.corrupt(`has the mode ${mode.toString(8)}, which is of no kind of file`);
    if (payload === undefined || payload === "") throw line.corrupt("is a symlink without a target");
    const most = limits[this.#dialect].symlink;
    if (payload.length > most) throw line.corrupt(`is a symlink with a target of more than ${most} bytes`);
    if (payload.includes("\0")) throw line.corrupt("is a symlink with a NUL in its target");
    return { kind: "symlink", metadata, target: payload };
  }

  #optional(line: DumpLine, what: string): ByteString | undefined {
    if (this.#dialect === "c" && !line.hasMore) return undefined;
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
      const most = limits[this.#dialect].inline;
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
    if (this.#dialect === "rust") throw line.corrupt("has an xattr twice");
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

/** Stands where a hardlink will be. */
const unresolved: ComposefsLeaf = {
  kind: "inline",
  metadata: { permissions: 0, uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 }, xattrs: noXattrs },
  content: noContent,
};

function digestOf(hex: ByteString, line: DumpLine): Buffer {
  const digest = hex.length === 64 || hex.length === 128 ? Buffer.from(hex, "hex") : noContent;
  if (digest.length * 2 === hex.length && digest.length > 0) return digest;
  throw line.corrupt("has a digest that is neither 64 nor 128 hex digits");
}

/** A whole dump file at once. @throws OneholdError "corrupt" */
export function parseDump(bytes: Buffer, dialect: DumpDialect = "rust"): ComposefsDirectory {
  const parser = new DumpParser(dialect);
  parser.push(bytes);
  return parser.end();
}
