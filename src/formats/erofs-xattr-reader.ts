import { type ByteString, displayBytes } from "#base/bytes.ts";
import { faultOfBackingPath } from "./composefs-tree.ts";
import { xattrHeaderSize } from "./erofs-format.ts";
import type { StoredInode } from "./erofs-inode.ts";
import { metacopyName, opaqueName, parseMetacopy, redirectName, unescapeOverlayName } from "./erofs-overlay.ts";
import { corruptImage, type Superblock } from "./erofs-superblock.ts";
import { filterBit, fullXattrName } from "./erofs-xattr-names.ts";
import { noXattrs, type Xattr } from "./xattrs.ts";

/** The xattrs of an inode: the tree's own under their own names, and what overlayfs reads. */
export interface ReadXattrs {
  readonly own: readonly Xattr[];
  /** Undefined where there is no such xattr. */
  readonly metacopy: { readonly digest: Buffer | undefined } | undefined;
  /** Below the folder of objects; undefined where there is no such xattr. */
  readonly redirect: ByteString | undefined;
  readonly opaque: ByteString | undefined;
}

interface Name {
  readonly stored: ByteString;
  /** Undefined for overlayfs's own. */
  readonly own: ByteString | undefined;
  readonly filterBit: number;
}

interface Entry {
  readonly name: Name;
  /** As the tree has it, where it is the tree's own. */
  readonly xattr: Xattr | undefined;
  readonly valueStart: number;
  readonly valueEnd: number;
  readonly end: number;
}

const nothing: ReadXattrs = { own: noXattrs, metacopy: undefined, redirect: undefined, opaque: undefined };

/** Reads the xattrs of an image's inodes. Those that many have are read once, and are one object in the tree. */
export class XattrReader {
  readonly #bytes: Buffer;
  readonly #superblock: Superblock;
  readonly #names = new Map<number, Map<ByteString, Name>>();
  readonly #shared = new Map<number, Entry>();
  #sharedBytes = 0;

  constructor(bytes: Buffer, superblock: Superblock) {
    this.#bytes = bytes;
    this.#superblock = superblock;
  }

  /** @throws OneholdError "corrupt" */
  read({ nid, xattrStart, xattrSize }: StoredInode): ReadXattrs {
    if (xattrSize === 0) return nothing;
    const end = xattrStart + xattrSize;
    const filter = this.#bytes.readUInt32LE(xattrStart);
    const sharedCount = this.#bytes[xattrStart + 4] ?? 0;
    const localStart = xattrStart + xattrHeaderSize + sharedCount * 4;
    if (localStart > end) throw corruptImage(`the inode ${nid} has fewer xattrs than it states`);
    const entries: Entry[] = [];
    for (let at = xattrStart + xattrHeaderSize; at < localStart; at += 4) {
      entries.push(this.#readShared(this.#bytes.readUInt32LE(at)));
    }
    for (let at = localStart; at < end; ) {
      const entry = this.#readEntry(at, end);
      entries.push(entry);
      at = entry.end;
    }
    this.#demandDistinct(entries, nid);
    return this.#sort(entries, filter, nid);
  }

  #sort(entries: readonly Entry[], filter: number, nid: number): ReadXattrs {
    const own: Xattr[] = [];
    let metacopy: ReadXattrs["metacopy"];
    let redirect: ByteString | undefined;
    let opaque: ByteString | undefined;
    for (const { name, xattr, valueStart, valueEnd } of entries) {
      if (this.#superblock.hasXattrFilter && (filter & name.filterBit) !== 0) {
        throw corruptImage(`the inode ${nid} hides the xattr ${displayBytes(name.stored)} by its filter`);
      }
      if (xattr !== undefined) {
        own.push(xattr);
      } else if (name.stored === metacopyName) {
        metacopy = this.#metacopy(valueStart, valueEnd, nid);
      } else {
        const value = this.#text(valueStart, valueEnd);
        if (name.stored === redirectName) redirect = backingPath(value, nid);
        else if (name.stored === opaqueName) opaque = value;
        else throw corruptImage(`the inode ${nid} has the xattr ${displayBytes(name.stored)}`);
      }
    }
    return { own: own.length === 0 ? noXattrs : own, metacopy, redirect, opaque };
  }

  #metacopy(start: number, end: number, nid: number): ReadXattrs["metacopy"] {
    const header = parseMetacopy(this.#bytes, start, end);
    if (header === undefined) throw corruptImage(`the inode ${nid} has a digest that is not well formed`);
    return { digest: header === "none" ? undefined : Buffer.from(this.#bytes.subarray(header, end)) };
  }

  #readShared(id: number): Entry {
    const known = this.#shared.get(id);
    if (known !== undefined) return known;
    const start = this.#superblock.sharedStart + id * 4;
    const entry = this.#readEntry(start, this.#bytes.length);
    this.#sharedBytes += entry.end - start;
    if (this.#sharedBytes > this.#bytes.length) throw corruptImage("its shared xattrs overlap");
    this.#shared.set(id, entry);
    return entry;
  }

  #readEntry(at: number, end: number): Entry {
    if (at + 4 > end) throw corruptImage("an xattr lies beyond its place");
    const suffixEnd = at + 4 + (this.#bytes[at] ?? 0);
    const valueEnd = suffixEnd + this.#bytes.readUInt16LE(at + 2);
    const entryEnd = (valueEnd + 3) & ~3;
    if (entryEnd > end) throw corruptImage("an xattr lies beyond its place");
    const name = this.#name(this.#bytes[at + 1] ?? 0, this.#text(at + 4, suffixEnd));
    const xattr =
      name.own === undefined
        ? undefined
        : { name: name.own, value: Buffer.from(this.#bytes.subarray(suffixEnd, valueEnd)) };
    return { name, xattr, valueStart: suffixEnd, valueEnd, end: entryEnd };
  }

  #name(prefix: number, suffix: ByteString): Name {
    let names = this.#names.get(prefix);
    if (names === undefined) this.#names.set(prefix, (names = new Map<ByteString, Name>()));
    const known = names.get(suffix);
    if (known !== undefined) return known;
    const stored = fullXattrName(prefix, suffix);
    if (stored === undefined || stored === "" || stored.includes("\0")) {
      throw corruptImage("an xattr has a name that can't be");
    }
    const name = { stored, own: unescapeOverlayName(stored), filterBit: filterBit(prefix, suffix) };
    names.set(suffix, name);
    return name;
  }

  #demandDistinct(entries: readonly Entry[], nid: number): void {
    if (entries.length < 2) return;
    const names = new Set(entries.map(({ name }) => name.stored));
    if (names.size !== entries.length) throw corruptImage(`the inode ${nid} has an xattr twice`);
  }

  #text(start: number, end: number): ByteString {
    return this.#bytes.toString("latin1", start, end) as ByteString;
  }
}

function backingPath(value: ByteString, nid: number): ByteString {
  const path = value.slice(1) as ByteString;
  const fault = value.startsWith("/") ? faultOfBackingPath(path) : "has a backing path that is relative";
  if (fault !== undefined) throw corruptImage(`the inode ${nid} ${fault}`);
  return path;
}
