import fs from "node:fs";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { canonicalXattrs } from "#formats/xattrs.ts";
import { AT_FDCWD, closeFd } from "#linux/descriptor.ts";
import { linkAt } from "#linux/hardlink.ts";
import { cloneFile } from "#linux/reflink.ts";
import { isErrno } from "#linux/system-error.ts";
import { umask } from "#linux/umask.ts";
import { getXattr, listXattrs } from "#linux/xattr.ts";

/** How a store may be given files, decided once for a pair of file systems (see probe.ts). */
export interface SharingPolicy {
  readonly method: SharingMethod;
  /** The user accepts a second copy of what can't be shared. */
  readonly allowCopy: boolean;
}

/** `none`: neither works between the two places. */
export type SharingMethod = "reflink" | "hardlink" | "none";

/** What became of a file; `refused`: it could only be copied, and that was not allowed. */
export type ShareOutcome = "reflinked" | "hardlinked" | "copied" | "refused";

/** A file to share, open for reading. */
export interface SharedSource {
  readonly directoryFd: number;
  /** Below `directoryFd`. */
  readonly path: Buffer;
  readonly fd: number;
  readonly stat: fs.Stats;
  /**
   * What the shared file shall have: a hardlink will do where the source's inode has just that. "any": it will do
   * always; "own-inode": never.
   */
  readonly metadata: FileMetadata | "any" | "own-inode";
}

/**
 * Makes `destination` (a path that must not exist yet) a file with the source's content, by the policy. With
 * `reflinked` and `copied` it is a new inode whose metadata `finish` sets (`createdMode` tells which mode it has); with
 * `hardlinked` it is the source's own inode, which is left as it is. `exists`: somebody made it before.
 */
export function shareContent(
  source: SharedSource,
  destination: string,
  policy: SharingPolicy,
  finish: (fd: number) => void,
): ShareOutcome | "exists" {
  // An empty file has no blocks to share: a new inode is all there is to it.
  if (policy.method === "reflink" || source.stat.size === 0) {
    const outcome = makeNew(destination, source.metadata, finish, (fd) => {
      if (source.stat.size > 0) cloneFile(fd, source.fd);
    });
    if (outcome !== "can't") return outcome === "made" ? "reflinked" : outcome;
  }
  if (policy.method !== "none" && hasMetadata(source)) {
    try {
      const outcome = linkAt(source.directoryFd, source.path, AT_FDCWD, destination);
      if (outcome !== "too-many-links") return outcome === "linked" ? "hardlinked" : "exists";
    } catch (error) {
      if (!isErrno(error, ...cannotShare)) throw error;
    }
  }
  if (!policy.allowCopy) return "refused";
  const outcome = makeNew(destination, source.metadata, finish, (fd) => copyContent(source, fd));
  if (outcome === "can't") throw new Error(`copying to ${destination} failed`);
  return outcome === "made" ? "copied" : outcome;
}

/** One file can refuse where others go: other NOCOW flags, a swap file, an inode at its limit of links. */
const cannotShare = ["EINVAL", "EOPNOTSUPP", "EXDEV", "EPERM", "ETXTBSY"] as const;

/** The permissions of a file that was made new for `metadata`: often the ones wanted, so that a chmod can be saved. */
export function createdMode(metadata: SharedSource["metadata"]): number {
  return wantedMode(metadata) & 0o777 & ~withheld;
}

function wantedMode(metadata: SharedSource["metadata"]): number {
  return typeof metadata === "string" ? 0o644 : metadata.mode;
}

const withheld = umask();

function makeNew(
  destination: string,
  metadata: SharedSource["metadata"],
  finish: (fd: number) => void,
  fill: (fd: number) => void,
): "made" | "exists" | "can't" {
  const fd = createExclusively(destination, wantedMode(metadata) & 0o777);
  if (fd === undefined) return "exists";
  try {
    try {
      fill(fd);
    } catch (error) {
      if (!isErrno(error, ...cannotShare)) throw error;
      fs.unlinkSync(destination);
      return "can't";
    }
    finish(fd);
    return "made";
  } catch (error) {
    fs.unlinkSync(destination);
    throw error;
  } finally {
    closeFd(fd);
  }
}

const copyPiece = 1 << 20;
const zeros = Buffer.alloc(copyPiece);

/** Copies bytes; whole pieces of zeros become holes, so that a sparse file stays one. */
function copyContent(source: SharedSource, fd: number): void {
  const buffer = Buffer.allocUnsafe(copyPiece);
  fs.ftruncateSync(fd, source.stat.size);
  for (let position = 0; position < source.stat.size; ) {
    const length = fs.readSync(source.fd, buffer, 0, copyPiece, position);
    if (length === 0) break;
    const piece = buffer.subarray(0, length);
    if (!piece.equals(zeros.subarray(0, length))) {
      for (let done = 0; done < length; ) done += fs.writeSync(fd, piece, done, length - done, position + done);
    }
    position += length;
  }
}

/** A hardlink shares owner, mode and xattrs too, so the inode must have exactly those wanted, where some are. */
function hasMetadata(source: SharedSource): boolean {
  const { stat, metadata } = source;
  if (metadata === "any" || metadata === "own-inode") return metadata === "any";
  if (stat.uid !== metadata.uid || stat.gid !== metadata.gid || stat.mode !== metadata.mode) return false;
  const wanted = canonicalXattrs(metadata.xattrs);
  const names = listXattrs({ fd: source.fd }).toSorted();
  return (
    names.length === wanted.length &&
    wanted.every(({ name, value }, i) => names[i] === name && getXattr({ fd: source.fd }, name)?.equals(value) === true)
  );
}

function createExclusively(file: string, mode: number): number | undefined {
  try {
    return fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL, mode);
  } catch (error) {
    if (isErrno(error, "EEXIST")) return undefined;
    throw error;
  }
}
