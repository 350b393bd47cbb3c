import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Xattr } from "./xattrs.ts";

/**
 * Header blocks of a tar, as POSIX.1-2001 (ustar), GNU tar and V7 write them. They mean here what they mean to
 * Go's archive/tar, for that is what podman unpacks layers with: which magic has a prefix field, how numbers
 * are read, which types have no content.
 */

export const blockSize = 512;

/** One member of a tar, with what its extended headers (PAX, GNU) say put in. */
export interface TarEntry {
  /** As in the tar: may begin with `./`, `/` or `../`, may end with `/`. */
  readonly name: ByteString;
  readonly type: TarEntryType;
  /** Permission bits alone (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; of a PAX-sparse file, once it is expanded. 0 for types that have no content. */
  readonly size: number;
  readonly mtime: { readonly seconds: number /** 0 to 999,999,999, counted forward */; readonly nanoseconds: number };
  /** Target of a symlink; of a hardlink, the name of an earlier member. */
  readonly linkName: ByteString;
  readonly devMajor: number;
  readonly devMinor: number;
  /** From PAX records `SCHILY.xattr.*`, by ascending name. */
  readonly xattrs: readonly Xattr[];
  /** In the tar are a map and pieces instead of the content: tar-split can't give such a tar back. */
  readonly sparse: boolean;
}

export type TarEntryType =
  | "file"
  | "hardlink"
  | "symlink"
  | "char"
  | "block"
  | "directory"
  | "fifo"
  /** A type that no file system object has. */
  | "other";

/** The fields of one header block, before extended headers change them. */
export interface HeaderBlock {
  name: ByteString;
  /** The type flag, one character. */
  flag: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  linkName: ByteString;
  devMajor: number;
  devMinor: number;
}

/** Whether the block is all zeros: two of them end a tar. */
export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.equals(zeroBlock);
}

const zeroBlock = Buffer.alloc(blockSize);

/** The bytes between the end of content of that size and the next header. */
export function paddingOf(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

/** Whether content follows a header of this type flag. Links, devices and directories have none whatever their size says. */
export function hasContent(flag: string): boolean {
  return flag < "1" || flag > "6";
}

/** @throws OneholdError "corrupt" */
export function parseHeaderBlock(block: Buffer): HeaderBlock {
  if (block.length !== blockSize) throw new Error(`a tar header has ${blockSize} bytes, not ${block.length}`);
  if (!hasRightSum(block)) throw corrupt("has a wrong checksum");
  const header: HeaderBlock = {
    name: cString(block, 0, 100),
    flag: String.fromCharCode(block[156] ?? 0),
    mode: number(block, 100, 8, "mode"),
    uid: number(block, 108, 8, "owner"),
    gid: number(block, 116, 8, "group"),
    size: number(block, 124, 12, "size"),
    mtime: number(block, 136, 12, "modification time"),
    linkName: cString(block, 157, 100),
    devMajor: 0,
    devMinor: 0,
  };
  const magic = block.toString("latin1", 257, 265);
  const isUstar = magic.startsWith("ustar\0");
  const isGnu = magic === "ustar  \0";
  if (!isUstar && !isGnu) return header; // V7: the rest of the block means nothing
  header.devMajor = number(block, 329, 8, "device number");
  header.devMinor = number(block, 337, 8, "device number");
  const prefix = isUstar ? ustarPrefix(block) : misplacedPrefix(block);
  if (prefix !== "") header.name = `${prefix}/${header.name}` as ByteString;
  return header;
}

/** Schilling's tar has a shorter one, and times behind it. */
function ustarPrefix(block: Buffer): ByteString {
  if (block[345] === 0) return "" as ByteString;
  const isStar = block.toString("latin1", 508, 512) === "tar\0";
  return cString(block, 345, isStar ? 131 : 155);
}

/**
 * GNU headers have no prefix but times in its place. Go before 1.8 wrote one nevertheless (golang.org/issue/12594);
 * it is told by times that are no numbers.
 */
function misplacedPrefix(block: Buffer): ByteString {
  const none = "" as ByteString;
  if (isTime(block, 345) && isTime(block, 357)) return none;
  const prefix = cString(block, 345, 155);
  // oxlint-disable-next-line no-control-regex -- all of ASCII
  return /^[\x00-\x7f]*$/.test(prefix) ? prefix : none;
}

function isTime(block: Buffer, offset: number): boolean {
  if (block[offset] === 0) return true;
  try {
    number(block, offset, 12, "time");
    return true;
  } catch {
    return false;
  }
}

/** The bytes up to the first NUL. */
function cString(block: Buffer, offset: number, length: number): ByteString {
  if (block[offset] === 0) return "" as ByteString;
  const end = block.indexOf(0, offset);
  return block.toString("latin1", offset, end < 0 ? offset + length : Math.min(end, offset + length)) as ByteString;
}

/** Octal digits between spaces and NULs, or base-256 where the first bit is set. */
function number(block: Buffer, offset: number, length: number, what: string): number {
  if (((block[offset] ?? 0) & 0x80) !== 0) return base256(block, offset, length, what);
  let start = offset;
  let end = offset + length;
  while (start < end && isBlank(block[start])) start++;
  while (start < end && isBlank(block[end - 1])) end--;
  let value = 0;
  for (let position = start; position < end; position++) {
    const digit = (block[position] ?? 0) - 0x30;
    if (digit === -0x30) break;
    if (digit < 0 || digit > 7) throw corrupt(`has the ${what} "${block.toString("latin1", start, end)}"`);
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0 || byte === 0x20;
}

/** Big-endian two's complement; the first bit only says that it is. */
function base256(block: Buffer, offset: number, length: number, what: string): number {
  const first = block[offset] ?? 0;
  const isNegative = (first & 0x40) !== 0;
  let value = BigInt.asIntN(7, BigInt(first));
  for (let position = offset + 1; position < offset + length; position++) {
    value = (value << 8n) | BigInt(block[position] ?? 0);
  }
  const result = Number(value);
  if (!Number.isSafeInteger(result) || isNegative !== result < 0) throw corrupt(`has a ${what} out of range`);
  return result;
}

/** The sum of all bytes, its own field counted as spaces. Some old programs summed signed bytes. */
function hasRightSum(block: Buffer): boolean {
  const expected = number(block, 148, 8, "checksum");
  const correction = 8 * 0x20 - sumOfBytes(block.subarray(148, 156));
  const sum = sumOfBytes(block) + correction;
  if (sum === expected) return true;
  const high = block.reduce((count, byte, position) => count + (isOfChecksum(position) ? 0 : byte >> 7), 0);
  return sum - high * 256 === expected;
}

function isOfChecksum(position: number): boolean {
  return position >= 148 && position < 156;
}

/** Of up to 512 bytes, a multiple of four: two sums of 16 bits at once hold 128 times two bytes, just. */
function sumOfBytes(bytes: Buffer): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let sums = 0;
  for (let position = 0; position < bytes.length; position += 4) {
    const word = view.getInt32(position, true);
    sums += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
  }
  return (sums & 0xffff) + (sums >>> 16);
}

function corrupt(why: string): OneholdError {
  return new OneholdError("corrupt", `a tar header ${why}`);
}
