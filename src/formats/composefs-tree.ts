import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Xattr } from "./xattrs.ts";

/**
 * What a composefs image describes: a tree of inodes whose larger files lie outside the image. Dump files and EROFS
 * images are two writings of it. A leaf that stands at several names is one object: its names are hardlinks.
 */
export type ComposefsInode = ComposefsDirectory | ComposefsLeaf;

/** Whose form or rules, where the tools differ: composefs-rs's or those of the C tools (mkcomposefs, composefs-info). */
export type ComposefsCompat = "rust" | "c";

export type ComposefsLeaf = InlineFile | ExternalFile | ComposefsSymlink | ComposefsSpecial;

export interface InodeMetadata {
  /** Without the S_IFMT bits. */
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Timestamp;
  /** In the order in which they came; writers sort them. No name comes twice. */
  readonly xattrs: readonly Xattr[];
}

export interface Timestamp {
  /** Since 1970; negative before. */
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface ComposefsDirectory {
  readonly kind: "directory";
  readonly metadata: InodeMetadata;
  readonly entries: ReadonlyMap<ByteString, ComposefsInode>;
}

/** A regular file whose content the image itself holds. */
export interface InlineFile {
  readonly kind: "inline";
  readonly metadata: InodeMetadata;
  readonly content: Buffer;
}

/** A regular file whose content is a file beside the image. */
export interface ExternalFile {
  readonly kind: "external";
  readonly metadata: InodeMetadata;
  readonly size: number;
  /** Where the content is, below the folder of objects: `ab/cdef…` in a repository. Empty where nothing says so. */
  readonly path: ByteString;
  /** The content's fs-verity digest, where the kernel shall check it. */
  readonly digest: Buffer | undefined;
}

export interface ComposefsSymlink {
  readonly kind: "symlink";
  readonly metadata: InodeMetadata;
  readonly target: ByteString;
}

export interface ComposefsSpecial {
  readonly kind: "special";
  readonly metadata: InodeMetadata;
  readonly type: "fifo" | "char" | "block" | "socket";
  /** As Linux encodes it in 32 bits (minor's low byte, then the major, then the rest of the minor); 0 but for devices. */
  readonly rdev: number;
}

/** What hides a name of the layers below, in an overlay: a character device of number 0. */
export function isWhiteout(inode: ComposefsInode): boolean {
  return inode.kind === "special" && inode.type === "char" && inode.rdev === 0;
}

/** The kind of file in `st_mode`. */
export const fileType = {
  mask: 0o170000,
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  regular: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const;

const specialTypes: ReadonlyMap<number, ComposefsSpecial["type"]> = new Map([
  [fileType.fifo, "fifo"],
  [fileType.char, "char"],
  [fileType.block, "block"],
  [fileType.socket, "socket"],
]);

/** Of files that are neither regular nor directory nor symlink; undefined for those. */
export function specialTypeOf(mode: number): ComposefsSpecial["type"] | undefined {
  return specialTypes.get(mode & fileType.mask);
}

export function modeOf(inode: ComposefsInode): number {
  const { permissions } = inode.metadata;
  switch (inode.kind) {
    case "directory":
      return fileType.directory | permissions;
    case "inline":
    case "external":
      return fileType.regular | permissions;
    case "symlink":
      return fileType.symlink | permissions;
    case "special":
      return fileType[inode.type] | permissions;
  }
}

/** Bytes. A longer path can't be opened, nor read in a dump file; this bounds how deep a tree is. */
export const maxPath = 4096;

/** Of all files in a tree, hardlinks counted: some gigabytes of memory. */
export const maxNames = 1 << 22;

/** Why no file can have this name; undefined for a good one. */
export function faultOfName(name: ByteString): string | undefined {
  if (name === "" || name === "." || name === "..") return `has the name "${name}", which no file can have`;
  if (name.includes("/") || name.includes("\0")) return "has a name with a slash or a NUL, which no file can have";
  return name.length > 255 ? "has a name of more than 255 bytes" : undefined;
}

/** @throws OneholdError "unsupported" for a name that nothing of composefs can be written with. @param pathLength bytes of the path that ends with it */
export function demandWritable(name: ByteString, pathLength: number): void {
  const fault = pathLength > maxPath ? `has a path of more than ${maxPath} bytes` : faultOfName(name);
  if (fault === undefined) return;
  throw new OneholdError("unsupported", `composefs can't hold the file "${displayBytes(name)}": it ${fault}`);
}

/** Why a path can't be that of a file below the folder of objects; undefined for a good one. */
export function faultOfBackingPath(path: ByteString): string | undefined {
  if (path === "" || path.includes("\0") || path.length > 4095)
    return "has a backing path that is empty, too long or has a NUL";
  if (!path.includes("..")) return undefined;
  return path.split("/").includes("..") ? "has a backing path that leads out of the folder of objects" : undefined;
}
