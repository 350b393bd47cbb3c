import type { ByteString } from "#base/bytes.ts";
import type { ErofsFormat } from "./erofs-format.ts";

/** The name of an xattr as EROFS stores it: the number of a known beginning, and the rest. */
export interface StoredXattrName {
  readonly full: ByteString;
  readonly prefix: number;
  readonly suffix: ByteString;
  /** The bit that an inode's filter has cleared where it has such an xattr. */
  readonly filterBit: number;
}

/** By number. The first stands for no known beginning. */
const prefixes: readonly string[] = [
  "",
  "user.",
  "system.posix_acl_access",
  "system.posix_acl_default",
  "trusted.",
  "lustre.",
  "security.",
];
const lustre = 5;
const filterSeed = 0x25bbe08f;

/** `format` 0 and 1 do not know `lustre.`. */
export function storedXattrName(full: ByteString, format: ErofsFormat): StoredXattrName {
  const prefix = Math.max(
    prefixes.findLastIndex((start, number) => full.startsWith(start) && (format === 2 || number !== lustre)),
    0,
  );
  const suffix = full.slice(prefixes[prefix]?.length ?? 0) as ByteString;
  return { full, prefix, suffix, filterBit: filterBit(prefix, suffix) };
}

/** Undefined for a number that stands for nothing. */
export function fullXattrName(prefix: number, suffix: ByteString): ByteString | undefined {
  const start = prefixes[prefix];
  return start === undefined ? undefined : (`${start}${suffix}` as ByteString);
}

export function filterBit(prefix: number, suffix: ByteString): number {
  return (1 << (xxh32(suffix, (filterSeed + prefix) >>> 0) & 31)) >>> 0;
}

export const aclPrefixes: ReadonlySet<number> = new Set([2, 3]);

const prime1 = 0x9e3779b1;
const prime2 = 0x85ebca77;
const prime3 = 0xc2b2ae3d;
const prime4 = 0x27d4eb2f;
const prime5 = 0x165667b1;

/** The 32-bit hash of the xxHash specification (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). */
function xxh32(text: ByteString, seed: number): number {
  const length = text.length;
  let position = 0;
  let hash: number;
  if (length >= 16) {
    let a = (seed + prime1 + prime2) | 0;
    let b = (seed + prime2) | 0;
    let c = seed | 0;
    let d = (seed - prime1) | 0;
    for (; position + 16 <= length; position += 16) {
      a = lane(a, word(text, position));
      b = lane(b, word(text, position + 4));
      c = lane(c, word(text, position + 8));
      d = lane(d, word(text, position + 12));
    }
    hash = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0;
  } else {
    hash = (seed + prime5) | 0;
  }
  hash = (hash + length) | 0;
  for (; position + 4 <= length; position += 4) {
    hash = Math.imul(rotate((hash + Math.imul(word(text, position), prime3)) | 0, 17), prime4);
  }
  for (; position < length; position++) {
    hash = Math.imul(rotate((hash + Math.imul(text.charCodeAt(position), prime5)) | 0, 11), prime1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), prime2);
  hash = Math.imul(hash ^ (hash >>> 13), prime3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function lane(accumulator: number, input: number): number {
  return Math.imul(rotate((accumulator + Math.imul(input, prime2)) | 0, 13), prime1);
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function word(text: ByteString, position: number): number {
  return (
    text.charCodeAt(position) |
    (text.charCodeAt(position + 1) << 8) |
    (text.charCodeAt(position + 2) << 16) |
    (text.charCodeAt(position + 3) << 24)
  );
}
