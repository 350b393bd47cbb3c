import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ComposefsCompat } from "./composefs-tree.ts";
import { type ErofsFormat, roundUp, xattrHeaderSize } from "./erofs-format.ts";
import { aclPrefixes, type StoredXattrName, storedXattrName } from "./erofs-xattr-names.ts";

/** A name and value as an image has them, with how many inodes do. */
export interface PooledXattr {
  readonly name: StoredXattrName;
  readonly value: ByteString;
  uses: number;
  /** Where it is among the shared ones, as inodes refer to it; set by `place`. */
  id: number;
}

interface PooledName {
  readonly name: StoredXattrName;
  readonly values: Map<ByteString, PooledXattr>;
}

/** As the C tools have it: bytes of a suffix, of a value, and of all xattrs of an inode as they count them. */
const maxSuffix = 255;
const maxValue = 65_535;
const maxTotal = 32_767;
const entryOverhead = 7;

/** What one byte can count. */
const maxShared = 255;
/** The C tools store further ones with the inode. */
const maxSharedC = 128;

export interface SharedXattrs {
  readonly table: readonly PooledXattr[];
  readonly hasAcl: boolean;
}

/** All xattrs of an image: those that several inodes have are stored once. */
export class XattrPool {
  readonly #format: ErofsFormat;
  readonly #maxShared: number;
  readonly #compat: ComposefsCompat;
  readonly #names = new Map<ByteString, PooledName>();

  constructor(format: ErofsFormat, compat: ComposefsCompat) {
    this.#format = format;
    this.#compat = compat;
    this.#maxShared = compat === "c" ? maxSharedC : maxShared;
  }

  /** @throws OneholdError "unsupported" for what no image can hold */
  add(full: ByteString, value: ByteString): PooledXattr {
    let pooled = this.#names.get(full);
    if (pooled === undefined) {
      pooled = { name: storedXattrName(full, this.#format), values: new Map() };
      if (pooled.name.suffix.length > maxSuffix) throw tooLarge(`an xattr with a name of ${full.length} bytes`);
      this.#names.set(full, pooled);
    }
    const known = pooled.values.get(value);
    if (known !== undefined) {
      known.uses++;
      return known;
    }
    if (value.length > maxValue) throw tooLarge(`an xattr of ${value.length} bytes`);
    const xattr = { name: pooled.name, value, uses: 1, id: 0 };
    pooled.values.set(value, xattr);
    return xattr;
  }

  /**
   * What several inodes have, in the order of the table, and whether any has a POSIX ACL. Nothing can be added any
   * more: what finds the xattrs by value is as large as they are, and goes.
   */
  close(): SharedXattrs {
    const shared: PooledXattr[] = [];
    let hasAcl = false;
    for (const { name, values } of this.#names.values()) {
      hasAcl ||= aclPrefixes.has(name.prefix) && name.suffix === "";
      for (const xattr of values.values()) if (xattr.uses > 1) shared.push(xattr);
    }
    this.#names.clear();
    return { table: shared.toSorted(this.#format === 2 ? byPrefix : byNameDescending), hasAcl };
  }

  /** How an inode stores its xattrs: references first, then those that it alone has. */
  split(xattrs: readonly PooledXattr[]): { readonly shared: PooledXattr[]; readonly local: PooledXattr[] } {
    const shared: PooledXattr[] = [];
    const local: PooledXattr[] = [];
    for (const xattr of xattrs) (xattr.uses > 1 && shared.length < this.#maxShared ? shared : local).push(xattr);
    return { shared, local };
  }

  /** Bytes of the area behind an inode. @throws OneholdError "unsupported" where the format has no room for it */
  areaSize(xattrs: readonly PooledXattr[]): number {
    if (xattrs.length === 0) return 0;
    let size = xattrHeaderSize;
    let total = xattrHeaderSize;
    let shared = 0;
    for (const xattr of xattrs) {
      if (xattr.uses > 1 && shared < this.#maxShared) {
        shared++;
        size += 4;
      } else {
        size += entrySize(xattr);
      }
      total += entryOverhead + xattr.name.full.length + xattr.value.length;
    }
    if (this.#compat === "c" ? total > maxTotal : size > maxArea) throw tooLarge(`${total} bytes of xattrs`);
    return size;
  }
}

/** An inode counts its words in 16 bits. */
const maxArea = xattrHeaderSize + 4 * 65_534;

/** Bytes of an entry: its lengths, the rest of the name, the value, and what fills the last word. */
export function entrySize({ name, value }: PooledXattr): number {
  return roundUp(4 + name.suffix.length + value.length, 4);
}

function byNameDescending(a: PooledXattr, b: PooledXattr): number {
  return compare(b.name.full, a.name.full) || b.value.length - a.value.length || compare(b.value, a.value);
}

function byPrefix(a: PooledXattr, b: PooledXattr): number {
  return a.name.prefix - b.name.prefix || compare(a.name.suffix, b.name.suffix) || compare(a.value, b.value);
}

function compare(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function tooLarge(what: string): OneholdError {
  return new OneholdError("unsupported", `a composefs image can't hold a file with ${what}`, {
    hint: "Give the file fewer or shorter extended attributes.",
  });
}
