import type { ByteString } from "#base/bytes.ts";
import type { Xattr } from "./xattrs.ts";

/**
 * What a composefs image describes: a tree of inodes whose larger files lie outside the image. Dump files and EROFS
 * images are two writings of it. A leaf that stands at several names is one object: its names are hardlinks.
 */
export type ComposefsInode = ComposefsDirectory | ComposefsLeaf;

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
  /** Where the content is, below the folder of objects: `ab/cdef…` in a repository. */
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
