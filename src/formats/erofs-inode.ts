import { type InodeMetadata, type Timestamp } from "./composefs-tree.ts";
import { compactSize, extendedSize, firstInode, layout, slotSize, xattrHeaderSize } from "./erofs-format.ts";
import { corruptImage, demandNanoseconds } from "./erofs-superblock.ts";

/** An inode as it is stored, without what stands behind it. */
export interface StoredInode {
  readonly nid: number;
  /** 0, 2 or 4: see `layout`. */
  readonly layout: number;
  readonly mode: number;
  readonly size: number;
  /** A device, a block or the form of a chunk table. */
  readonly union: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly mtime: Timestamp;
  readonly xattrStart: number;
  /** Bytes; 0 without xattrs. */
  readonly xattrSize: number;
  /** Where what stands behind inode and xattrs begins. */
  readonly tailStart: number;
}

/** @throws OneholdError "corrupt" */
export function readInode(view: DataView, nid: number, time: Timestamp): StoredInode {
  const at = nid * slotSize;
  if (at < firstInode || at + compactSize > view.byteLength) throw corruptImage(`it has no place for the inode ${nid}`);
  const form = view.getUint16(at, true);
  const isExtended = (form & 1) === 1;
  const dataLayout = form >> 1;
  if (dataLayout !== layout.plain && dataLayout !== layout.inline && dataLayout !== layout.chunks) {
    throw corruptImage(`the inode ${nid} has a layout that composefs doesn't use`);
  }
  const words = view.getUint16(at + 2, true);
  const xattrSize = words === 0 ? 0 : xattrHeaderSize + (words - 1) * 4;
  const xattrStart = at + (isExtended ? extendedSize : compactSize);
  const tailStart = xattrStart + xattrSize;
  if (tailStart > view.byteLength) throw corruptImage(`the inode ${nid} lies beyond its end`);
  const common = { nid, layout: dataLayout, mode: view.getUint16(at + 4, true), xattrStart, xattrSize, tailStart };
  if (!isExtended) {
    return {
      ...common,
      size: view.getUint32(at + 8, true),
      union: view.getUint32(at + 16, true),
      uid: view.getUint16(at + 24, true),
      gid: view.getUint16(at + 26, true),
      links: view.getUint16(at + 6, true),
      mtime: time,
    };
  }
  const size = view.getUint32(at + 12, true) * 2 ** 32 + view.getUint32(at + 8, true);
  const seconds = view.getInt32(at + 36, true) * 2 ** 32 + view.getUint32(at + 32, true);
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(seconds)) {
    throw corruptImage(`the inode ${nid} has a size or a time that is out of range`);
  }
  return {
    ...common,
    size,
    union: view.getUint32(at + 16, true),
    uid: view.getUint32(at + 24, true),
    gid: view.getUint32(at + 28, true),
    links: view.getUint32(at + 44, true),
    mtime: { seconds, nanoseconds: demandNanoseconds(view.getUint32(at + 40, true)) },
  };
}

export function metadataOf({ mode, uid, gid, mtime }: StoredInode, xattrs: InodeMetadata["xattrs"]): InodeMetadata {
  return { permissions: mode & 0o7777, uid, gid, mtime, xattrs };
}
