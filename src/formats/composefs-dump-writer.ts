import { type ByteString, byteString } from "#base/bytes.ts";
import {
  type ComposefsCompat,
  type ComposefsDirectory,
  type ComposefsInode,
  type ComposefsLeaf,
  demandWritable,
  modeOf,
} from "./composefs-tree.ts";
import { directorySize, withDots } from "./erofs-directory.ts";
import { blockSize, stubNames } from "./erofs-format.ts";
import type { Xattr } from "./xattrs.ts";

/** Characters, about: how much of a dump file is text before it is bytes. */
const pieceSize = 1 << 16;

/**
 * A tree as a dump file: each directory before what is in it, names in the order of their bytes, xattrs sorted. The two
 * forms differ in the size of directories (none, or what the image has) and in the fields of hardlinks, which readers
 * pass over. (composefs-info prints the xattrs that several files have before the others.)
 * @throws OneholdError "unsupported" for names that no dump file can have
 */
export function writeDump(root: ComposefsDirectory, compat: ComposefsCompat = "rust"): Buffer {
  const writer = new DumpWriter(compat);
  writer.count(root, 0);
  writer.write(root, "", true);
  return writer.end();
}

interface Links {
  count: number;
  /** The first name, escaped, once it has been written. */
  path: string | undefined;
}

class DumpWriter {
  readonly #compat: ComposefsCompat;
  readonly #links = new Map<ComposefsLeaf, Links>();
  readonly #pieces: Buffer[] = [];
  #text = "";

  constructor(compat: ComposefsCompat) {
    this.#compat = compat;
  }

  /** Looks through the tree for hardlinks. @param path bytes of the path to it, without a slash at its end */
  count(directory: ComposefsDirectory, path: number): void {
    for (const [name, inode] of directory.entries) {
      const length = path + 1 + name.length;
      demandWritable(name, length);
      if (inode.kind === "directory") {
        this.count(inode, length);
        continue;
      }
      const known = this.#links.get(inode);
      if (known === undefined) this.#links.set(inode, { count: 1, path: undefined });
      else known.count++;
    }
  }

  write(directory: ComposefsDirectory, path: string, isRoot: boolean): void {
    const names = [...directory.entries.keys()].toSorted();
    let links = 2;
    for (const inode of directory.entries.values()) if (inode.kind === "directory") links++;
    const size = this.#compat === "c" ? storedSize(names, isRoot) : 0;
    this.#append(lineOf(directory, isRoot ? "/" : path, size, links));
    for (const name of names) {
      const inode = directory.entries.get(name);
      if (inode === undefined) continue;
      const below = `${path}/${escape(name)}`;
      if (inode.kind === "directory") this.write(inode, below, false);
      else this.#writeLeaf(inode, below);
    }
  }

  end(): Buffer {
    this.#pieces.push(Buffer.from(this.#text, "latin1"));
    return Buffer.concat(this.#pieces);
  }

  #writeLeaf(leaf: ComposefsLeaf, path: string): void {
    const link = this.#links.get(leaf);
    const count = link?.count ?? 1;
    if (link?.path === undefined) {
      if (link !== undefined && count > 1) link.path = path;
      this.#append(lineOf(leaf, path, sizeOf(leaf), count));
      return;
    }
    const isBare = this.#compat === "rust";
    this.#append(
      isBare ? `${path} 0 @120000 - - - - 0.0 ${link.path} - -\n` : lineOf(leaf, path, sizeOf(leaf), count, link.path),
    );
  }

  #append(line: string): void {
    this.#text += line;
    if (this.#text.length < pieceSize) return;
    this.#pieces.push(Buffer.from(this.#text, "latin1"));
    this.#text = "";
  }
}

/** What an image of format 0 or 1 says. */
function storedSize(sorted: readonly ByteString[], isRoot: boolean): number {
  const { blocks, tail } = directorySize(
    withDots(isRoot ? [...new Set([...sorted, ...stubNames])].toSorted() : sorted),
  );
  return blocks * blockSize + tail;
}

function sizeOf(leaf: ComposefsLeaf): number {
  switch (leaf.kind) {
    case "inline":
      return leaf.content.length;
    case "external":
      return leaf.size;
    case "symlink":
      return leaf.target.length;
    case "special":
      return 0;
  }
}

/** @param target what it is a hardlink of, escaped */
function lineOf(inode: ComposefsInode, path: string, size: number, links: number, target?: string): string {
  const { uid, gid, mtime, xattrs } = inode.metadata;
  const mode = `${target === undefined ? "" : "@"}${modeOf(inode).toString(8)}`;
  const rdev = inode.kind === "special" ? inode.rdev : 0;
  const time = `${mtime.seconds}.${mtime.nanoseconds}`;
  const payload = target ?? optional(payloadOf(inode));
  const content = inode.kind === "inline" ? optional(byteString(inode.content)) : "-";
  const digest = inode.kind === "external" ? (inode.digest?.toString("hex") ?? "-") : "-";
  return `${path} ${size} ${mode} ${links} ${uid} ${gid} ${rdev} ${time} ${payload} ${content} ${digest}${xattrsOf(xattrs)}\n`;
}

function payloadOf(inode: ComposefsInode): ByteString {
  if (inode.kind === "external") return inode.path;
  return inode.kind === "symlink" ? inode.target : nothing;
}

const nothing = "" as ByteString;

function xattrsOf(xattrs: readonly Xattr[]): string {
  if (xattrs.length === 0) return "";
  const sorted = xattrs.length === 1 ? xattrs : xattrs.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return sorted.map(({ name, value }) => ` ${escapeXattr(name)}=${escapeXattr(byteString(value))}`).join("");
}

function optional(value: ByteString): string {
  if (value === "") return "-";
  return value === "-" ? "\\x2d" : escape(value);
}

const special = /[^\x21-\x5b\x5d-\x7e]/;
const specials = /[^\x21-\x5b\x5d-\x7e]/g;
const specialsOfXattrs = /[^\x21-\x3c\x3e-\x5b\x5d-\x7e]/g;

function escape(value: ByteString): string {
  return special.test(value) ? value.replace(specials, escapeByte) : value;
}

function escapeXattr(value: ByteString): string {
  return value.replace(specialsOfXattrs, escapeByte);
}

function escapeByte(byte: string): string {
  switch (byte) {
    case "\\":
      return "\\\\";
    case "\n":
      return "\\n";
    case "\r":
      return "\\r";
    case "\t":
      return "\\t";
    default:
      return `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`;
  }
}
