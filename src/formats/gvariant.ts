import { displayBytes, byteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

/**
 * The part of GVariant's serialisation that ostree's objects need. Framing offsets are little-endian; what
 * integers look like is the caller's business (ostree swaps its own to big-endian). Reading accepts normal
 * form alone, as `ostree fsck` does: one value has one serialisation.
 */

/** A member of a tuple, serialised. Fixed-size members have no framing offset. */
export interface Member {
  readonly bytes: Uint8Array;
  readonly align: Alignment;
  readonly fixed: boolean;
}

export type Alignment = 1 | 4 | 8;

/** What a reader expects of one member of a tuple: `size` in bytes for types of fixed size. */
export interface MemberType {
  readonly align: Alignment;
  readonly size?: number;
}

/** The offset width of a container: the smallest that can address all of it, the offsets included. */
export function offsetWidth(bodyLength: number, offsets: number): 1 | 2 | 4 | 8 {
  if (bodyLength + offsets <= 0xff) return 1;
  if (bodyLength + offsets * 2 <= 0xffff) return 2;
  if (bodyLength + offsets * 4 <= 0xffff_ffff) return 4;
  return 8;
}

/** Writes one framing offset; returns the position after it. */
export function writeOffset(target: Buffer, value: number, position: number, width: 1 | 2 | 4 | 8): number {
  if (width <= 4) return target.writeUIntLE(value, position, width);
  return target.writeBigUInt64LE(BigInt(value), position);
}

/** A tuple or a dictionary entry: the offsets of its variable-size members, but the last one's, stand reversed at its end. */
export function tuple(members: readonly Member[]): Buffer {
  const ends: number[] = [];
  let length = 0;
  for (const [index, member] of members.entries()) {
    length = padded(length, member.align) + member.bytes.length;
    if (!member.fixed && index < members.length - 1) ends.push(length);
  }
  const width = offsetWidth(length, ends.length);
  const result = Buffer.alloc(length + ends.length * width);
  let position = 0;
  for (const member of members) {
    position = padded(position, member.align);
    result.set(member.bytes, position);
    position += member.bytes.length;
  }
  for (const end of ends.toReversed()) position = writeOffset(result, end, position, width);
  return result;
}

/** An array of variable-size elements. (One of fixed-size elements is their plain concatenation.) */
export function array(elements: readonly Uint8Array[], align: Alignment): Buffer {
  if (elements.length === 0) return Buffer.alloc(0);
  let length = 0;
  for (const element of elements) length = padded(length, align) + element.length;
  const width = offsetWidth(length, elements.length);
  const result = Buffer.allocUnsafe(length + elements.length * width);
  let position = 0;
  let offset = length;
  for (const element of elements) {
    const start = padded(position, align);
    result.fill(0, position, start);
    result.set(element, start);
    position = start + element.length;
    offset = writeOffset(result, position, offset, width);
  }
  return result;
}

/** A variant: its child, a NUL, the child's type string. */
export function variant(signature: string, child: Uint8Array): Buffer {
  return Buffer.concat([child, Buffer.from(`\0${signature}`, "latin1")]);
}

/** The bytes of a `s`, NUL included. */
export function text(value: string): Buffer {
  if (value.includes("\0") || !value.isWellFormed())
    throw new Error("a GVariant string has no NUL and is valid Unicode");
  return Buffer.from(`${value}\0`, "utf8");
}

/**
 * The members of a serialised tuple, as views of `bytes`. `what` names the value in the errors.
 * @throws OneholdError "corrupt"
 */
export function tupleMembers(bytes: Buffer, types: readonly MemberType[], what: string): Buffer[] {
  const framed = types.filter((type, index) => type.size === undefined && index < types.length - 1).length;
  const width = widthOf(bytes.length);
  const bodyEnd = bytes.length - framed * width;
  if (bodyEnd < 0) throw corrupt(what, `is too short (${bytes.length} bytes)`);
  const members: Buffer[] = [];
  let position = 0;
  let offset = bytes.length;
  for (const [index, type] of types.entries()) {
    const start = padded(position, type.align);
    let end: number;
    if (type.size !== undefined) {
      end = start + type.size;
    } else if (index < types.length - 1) {
      offset -= width;
      end = readOffset(bytes, offset, width, what);
    } else {
      end = bodyEnd;
    }
    if (end < start || end > bodyEnd) throw corrupt(what, `has a member that ends at byte ${end} of ${bytes.length}`);
    demandZeros(bytes, position, start, what);
    members.push(bytes.subarray(start, end));
    position = end;
  }
  if (position !== bodyEnd) throw corrupt(what, `has ${bodyEnd - position} bytes too many`);
  return members;
}

/** The elements of a serialised array of variable-size elements, as views of `bytes`. @throws OneholdError "corrupt" */
export function arrayElements(bytes: Buffer, align: Alignment, what: string): Buffer[] {
  if (bytes.length === 0) return [];
  const width = widthOf(bytes.length);
  if (bytes.length < width) throw corrupt(what, "is too short");
  const bodyEnd = readOffset(bytes, bytes.length - width, width, what);
  const count = (bytes.length - bodyEnd) / width;
  if (!Number.isInteger(count) || count < 1) throw corrupt(what, "has a broken table of offsets");
  const elements: Buffer[] = [];
  let position = 0;
  for (let index = 0; index < count; index++) {
    const start = padded(position, align);
    const end = readOffset(bytes, bodyEnd + index * width, width, what);
    if (end < start || end > bodyEnd) throw corrupt(what, `has an element that ends at byte ${end} of ${bytes.length}`);
    demandZeros(bytes, position, start, what);
    elements.push(bytes.subarray(start, end));
    position = end;
  }
  return elements;
}

/** Takes a serialised variant apart. @throws OneholdError "corrupt" */
export function variantChild(bytes: Buffer, what: string): { signature: string; child: Buffer } {
  const separator = bytes.lastIndexOf(0);
  const signature = bytes.toString("latin1", separator + 1);
  if (separator < 0 || !/^[a-z(){}@*?&]{1,255}$/.test(signature)) throw corrupt(what, "is not a variant");
  return { signature, child: bytes.subarray(0, separator) };
}

/** The bytes of a serialised `s` without its NUL. Whether they are UTF-8 is not checked. @throws OneholdError "corrupt" */
export function textBytes(bytes: Buffer, what: string): Buffer {
  if (bytes.indexOf(0) !== bytes.length - 1 || bytes.length === 0)
    throw corrupt(what, "is not a string that ends with its only NUL");
  return bytes.subarray(0, -1);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A serialised `s`. @throws OneholdError "corrupt" */
export function parseText(bytes: Buffer, what: string): string {
  const content = textBytes(bytes, what);
  try {
    return utf8.decode(content);
  } catch (cause) {
    throw new OneholdError("corrupt", `${what} is not UTF-8: ${displayBytes(byteString(content))}`, { cause });
  }
}

function padded(position: number, align: Alignment): number {
  return Math.ceil(position / align) * align;
}

function widthOf(containerLength: number): 1 | 2 | 4 | 8 {
  return offsetWidth(containerLength, 0);
}

function readOffset(bytes: Buffer, position: number, width: 1 | 2 | 4 | 8, what: string): number {
  if (width <= 4) return bytes.readUIntLE(position, width);
  const offset = bytes.readBigUInt64LE(position);
  if (offset > BigInt(bytes.length)) throw corrupt(what, "has an offset beyond its end");
  return Number(offset);
}

function demandZeros(bytes: Buffer, start: number, end: number, what: string): void {
  for (let position = start; position < end; position++) {
    if (bytes[position] !== 0) throw corrupt(what, "has padding that is not zero");
  }
}

function corrupt(what: string, why: string): OneholdError {
  return new OneholdError("corrupt", `${what} ${why}`);
}
