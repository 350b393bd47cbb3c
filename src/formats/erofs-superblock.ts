import { OneholdError } from "#base/errors.ts";
import type { Timestamp } from "./composefs-tree.ts";
import {
  blockBits,
  blockSize,
  type ErofsFormat,
  featureXattrFilter,
  firstInode,
  headerMagic,
  headerVersion,
  maxImage,
  superblockMagic,
  superblockOffset,
} from "./erofs-format.ts";

/** What an image says of itself as a whole. */
export interface Superblock {
  readonly format: ErofsFormat;
  readonly rootNid: number;
  readonly inodes: number;
  /** The time of all inodes that have none of their own. */
  readonly time: Timestamp;
  /** Where the numbers of shared xattrs count from. */
  readonly sharedStart: number;
  readonly hasXattrFilter: boolean;
}

/**
 * Reads the headers, and refuses what composefs images don't have: other block sizes, compression, further devices.
 * @throws OneholdError "corrupt", "unsupported" for an EROFS image that is not of composefs, or of a later format
 */
export function readSuperblock(bytes: Buffer): Superblock {
  if (bytes.length < firstInode || bytes.length % blockSize !== 0) {
    throw corruptImage(`its size of ${bytes.length} bytes is not a number of whole blocks`);
  }
  if (bytes.length > maxImage) {
    throw new OneholdError(
      "unsupported",
      `a composefs image of ${bytes.length} bytes is too large: at most ${maxImage}`,
    );
  }
  if (bytes.readUInt32LE(0) !== headerMagic || bytes.readUInt32LE(superblockOffset) !== superblockMagic) {
    throw corruptImage("it does not begin as one");
  }
  const version = bytes.readUInt32LE(12);
  if (version !== 0 && version !== 1 && version !== 2) {
    throw new OneholdError("unsupported", `a composefs image has the format ${version}, which is not known`);
  }
  const at = superblockOffset;
  const compatible = bytes.readUInt32LE(at + 8);
  const incompatible = bytes.readUInt32LE(at + 80);
  const isPlain =
    bytes.readUInt32LE(4) === headerVersion &&
    bytes.readUInt8(at + 12) === blockBits &&
    bytes.readUInt8(at + 13) === 0 && // more superblock slots
    (compatible & ~7) === 0 &&
    (incompatible & ~4) === 0 && // 4: files in chunks
    bytes.readUInt32LE(at + 40) === 0 && // where inodes begin
    bytes.readUInt16LE(at + 84) === 0 && // compression
    bytes.readUInt16LE(at + 86) === 0 && // further devices
    bytes.readUInt16LE(at + 88) === 0 && // the same
    bytes.readUInt8(at + 90) === 0 && // compressed directories
    bytes.readUInt8(at + 91) === 0 && // own beginnings of names of xattrs
    bytes.readBigUInt64LE(at + 96) === 0n; // the inode of packed files
  if (!isPlain) throw new OneholdError("unsupported", "an EROFS image has features that composefs images don't have");
  if (bytes.readUInt32LE(at + 36) * blockSize !== bytes.length) throw corruptImage("its size is not what it states");
  const sharedStart = bytes.readUInt32LE(at + 44) * blockSize;
  if (sharedStart >= bytes.length) throw corruptImage("its shared xattrs lie beyond its end");
  return {
    format: version,
    rootNid: bytes.readUInt16LE(at + 14),
    inodes: safeInteger(bytes.readBigUInt64LE(at + 16), "number of inodes"),
    time: {
      seconds: safeInteger(bytes.readBigInt64LE(at + 24), "time"),
      nanoseconds: demandNanoseconds(bytes.readUInt32LE(at + 32)),
    },
    sharedStart,
    hasXattrFilter: (compatible & featureXattrFilter) !== 0,
  };
}

export function demandNanoseconds(value: number): number {
  if (value < 1e9) return value;
  throw corruptImage(`a time has ${value} nanoseconds`);
}

function safeInteger(value: bigint, what: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw corruptImage(`its ${what} is out of range`);
}

export function corruptImage(why: string): OneholdError {
  return new OneholdError("corrupt", `a composefs image is damaged: ${why}`);
}
