import { failureOf } from "./descriptor.ts";
import { libc } from "./libc.ts";

/**
 * Makes a file's content that of another, without copying: both then share the same extents (FICLONE). Both
 * are regular files of one file system. SystemError: EOPNOTSUPP where that can't share, EXDEV across two,
 * ETXTBSY for a swap file, EINVAL where one of the two has attributes (no copy-on-write) that the other lacks.
 */
export function cloneFile(destinationFd: number, sourceFd: number): void {
  const c = libc();
  if (c.ioctlValue(destinationFd, FICLONE, sourceFd) !== 0) throw failureOf("ioctl FICLONE", c.errno(), destinationFd);
}

export interface SourceRange {
  readonly fd: number;
  /** In bytes; a multiple of the file system's block size. */
  readonly offset: number;
  /** In bytes; a multiple of the block size too, except where the range ends with both files. */
  readonly length: number;
}

export interface DestinationRange {
  readonly fd: number;
  readonly offset: number;
}

/** `bytes` is what was compared and found the same. An end that is not on a block boundary counts, but is not shared. */
export type DedupeOutcome = { readonly outcome: "same"; readonly bytes: number } | { readonly outcome: "differs" };

/**
 * Shares the extents of two ranges, after the kernel has compared them byte by byte (FIDEDUPERANGE): so
 * never wrong, but it reads both. The destination need not be open for writing where we may write to it.
 * "differs" says nothing of the part before the difference: that may be shared. SystemError as of `cloneFile`,
 * and EINVAL for a range that goes beyond the end of its file or starts within a block.
 */
export function dedupeRange(source: SourceRange, destination: DestinationRange): DedupeOutcome {
  let done = 0;
  while (done < source.length) {
    const length = Math.min(source.length - done, longestDedupe);
    const step = dedupeStep(source.fd, source.offset + done, length, destination.fd, destination.offset + done);
    if (step === "differs") return { outcome: "differs" };
    if (step === 0) break;
    done += step;
  }
  return { outcome: "same", bytes: done };
}

const FICLONE = 0x40049409;
const FIDEDUPERANGE = 0xc0189436;
const FILE_DEDUPE_RANGE_DIFFERS = 1;
/** Btrfs takes no more at once, and has its pages in memory meanwhile. */
const longestDedupe = 16 * 1024 * 1024;

// struct file_dedupe_range: src_offset u64 @0, src_length u64 @8, dest_count u16 @16, then for each destination
// dest_fd s64 @24, dest_offset u64 @32, bytes_deduped u64 @40, status s32 @48, reserved u32.
const request = Buffer.alloc(56);

function dedupeStep(
  sourceFd: number,
  sourceOffset: number,
  length: number,
  destinationFd: number,
  offset: number,
): number | "differs" {
  request.writeBigUInt64LE(BigInt(sourceOffset), 0);
  request.writeBigUInt64LE(BigInt(length), 8);
  request.writeUInt16LE(1, 16);
  request.writeBigInt64LE(BigInt(destinationFd), 24);
  request.writeBigUInt64LE(BigInt(offset), 32);
  request.fill(0, 40);
  const c = libc();
  if (c.ioctl(sourceFd, FIDEDUPERANGE, request) !== 0) throw failureOf("ioctl FIDEDUPERANGE", c.errno(), sourceFd);
  const status = request.readInt32LE(48);
  if (status === FILE_DEDUPE_RANGE_DIFFERS) return "differs";
  if (status < 0) throw failureOf("ioctl FIDEDUPERANGE", -status, destinationFd);
  return Number(request.readBigUInt64LE(40));
}
