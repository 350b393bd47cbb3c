import { type ByteString, byteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { array, arrayElements, offsetWidth, textBytes, tupleMembers, writeOffset } from "./gvariant.ts";

/** An extended attribute of a file: its full name (`security.selinux`) and its value as the kernel holds it. */
export interface Xattr {
  readonly name: ByteString;
  readonly value: Buffer;
}

/** Most files have none; they share this. */
export const noXattrs: readonly Xattr[] = Object.freeze([]);

/**
 * The form in which ostree counts them towards a checksum: sorted by the bytes of the name, without empty
 * values (ostree passes those over when it reads an inode).
 * @throws OneholdError "corrupt" where a name is empty, holds a NUL or comes twice
 */
export function canonicalXattrs(xattrs: readonly Xattr[]): readonly Xattr[] {
  if (xattrs.length === 0) return noXattrs;
  const valued = xattrs.every((xattr) => xattr.value.length > 0)
    ? xattrs
    : xattrs.filter((xattr) => xattr.value.length > 0);
  const sorted = isAscending(valued) ? valued : valued.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  demandAscending(sorted, "a set of extended attributes");
  return sorted;
}

/** As `a(ayay)`: the names with a NUL, the values as they are. The order is the caller's: see `canonicalXattrs`. */
export function serializeXattrs(xattrs: readonly Xattr[]): Buffer {
  return array(xattrs.map(serializeXattr), 1);
}

const xattrType = [{ align: 1 }, { align: 1 }] as const;

/**
 * Reads an `a(ayay)`, the content of a `.file-xattrs` object. Names must ascend, as `ostree fsck` demands. The
 * values are copies.
 * @throws OneholdError "corrupt"
 */
export function parseXattrs(bytes: Buffer, what = "a set of extended attributes"): readonly Xattr[] {
  if (bytes.length === 0) return noXattrs;
  const xattrs = arrayElements(bytes, 1, what).map((element): Xattr => {
    const [name = empty, value = empty] = tupleMembers(element, xattrType, what);
    return { name: byteString(textBytes(name, what)), value: ownCopy(value) };
  });
  demandAscending(xattrs, what);
  return xattrs;
}

const empty = Buffer.alloc(0);

/** With memory of its own, so that a message to a worker carries these bytes and not a whole pool. */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

function serializeXattr({ name, value }: Xattr): Buffer {
  const nameEnd = name.length + 1;
  const length = nameEnd + value.length;
  const width = offsetWidth(length, 1);
  const result = Buffer.allocUnsafe(length + width);
  result.write(name, 0, "latin1");
  result[name.length] = 0;
  result.set(value, nameEnd);
  writeOffset(result, nameEnd, length, width);
  return result;
}

function isAscending(xattrs: readonly Xattr[]): boolean {
  return xattrs.every((xattr, index) => {
    const before = xattrs[index - 1];
    return before === undefined || before.name < xattr.name;
  });
}

function demandAscending(xattrs: readonly Xattr[], what: string): void {
  for (const [index, { name }] of xattrs.entries()) {
    if (name === "" || name.includes("\0"))
      throw new OneholdError("corrupt", `${what} has the name "${displayBytes(name)}"`);
    const before = xattrs[index - 1];
    if (before !== undefined && before.name >= name) {
      const why = before.name === name ? "twice" : `after ${displayBytes(before.name)}: they are not sorted`;
      throw new OneholdError("corrupt", `${what} has ${displayBytes(name)} ${why}`);
    }
  }
}
