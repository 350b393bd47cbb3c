import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { DumpInodes, type OpenDirectory } from "./composefs-dump-inodes.ts";
import { DumpLine } from "./composefs-dump-line.ts";
import {
  type ComposefsCompat,
  type ComposefsDirectory,
  type ComposefsLeaf,
  faultOfName,
  fileType,
  isWhiteout,
  maxNames,
  maxPath,
} from "./composefs-tree.ts";
import { noXattrs } from "./xattrs.ts";

/** Bytes. The xattrs that an inode of EROFS can hold, each byte escaped as four, and the rest. */
const maxLine = 2 << 20;
const newline = 0x0a;

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
  readonly #compat: ComposefsCompat;
  readonly #directories = new Map<string, OpenDirectory>();
  readonly #links = new Map<ByteString, PendingLink>();
  readonly #inodes: DumpInodes;
  #pieces: Buffer[] = [];
  #pending = 0;
  #number = 1;

  constructor(compat: ComposefsCompat = "rust") {
    this.#compat = compat;
    this.#inodes = new DumpInodes(compat);
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
    if (this.#number > maxNames) throw line.corrupt(`is one too many: no tree has more than ${maxNames} files`);
    const path = line.text("path");
    const size = line.integer("size", Number.MAX_SAFE_INTEGER);
    const { mode, isHardlink } = line.mode();
    if (isHardlink) {
      this.#parseHardlink(line, path, mode);
      return;
    }
    const inode = this.#inodes.read(line, size, mode);
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
    if (this.#compat === "c") {
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
      const where = this.#compat === "c" ? "is not there" : "does not come before it";
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
}

/** Stands where a hardlink will be. */
const unresolved: ComposefsLeaf = {
  kind: "inline",
  metadata: { permissions: 0, uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 }, xattrs: noXattrs },
  content: Buffer.alloc(0),
};

/** A whole dump file at once. @throws OneholdError "corrupt" */
export function parseDump(bytes: Buffer, compat: ComposefsCompat = "rust"): ComposefsDirectory {
  const parser = new DumpParser(compat);
  parser.push(bytes);
  return parser.end();
}
