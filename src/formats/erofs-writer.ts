import type { ComposefsCompat, ComposefsDirectory } from "./composefs-tree.ts";
import { endOfBlock } from "./erofs-directory.ts";
import {
  blockBits,
  blockSize,
  compactSize,
  direntSize,
  type ErofsFormat,
  extendedSize,
  featureMtime,
  featureXattrFilter,
  flagAcl,
  headerMagic,
  headerVersion,
  nullChunk,
  slotSize,
  superblockMagic,
  superblockOffset,
  xattrHeaderSize,
} from "./erofs-format.ts";
import { contentOf, type ImageLayout, layOut, unionOf } from "./erofs-layout.ts";
import { type Plan, planImage, type PlannedInode } from "./erofs-plan.ts";
import { entrySize, type PooledXattr } from "./erofs-xattr-pool.ts";

export interface ErofsOptions {
  readonly format: ErofsFormat;
  /**
   * "rust", the default: as composefs-rs writes the images of a repository; bootc knows an image by its digest.
   * "c": as `mkcomposefs --from-file`, of versions 0 and 1.
   */
  readonly compat?: ComposefsCompat;
}

/**
 * An image that the kernel mounts as EROFS, and over its backing files as an overlay. The same tree gives the same
 * bytes. A file's digest (fs-verity, SHA-256 or SHA-512) goes into it at the length that it has.
 * @throws OneholdError "unsupported" for what the format can't hold
 */
export function writeErofs(root: ComposefsDirectory, { format, compat = "rust" }: ErofsOptions): Buffer {
  const plan = planImage(root, format, compat);
  return new ImageWriter(plan, layOut(plan, format, compat), format).write();
}

class ImageWriter {
  readonly #plan: Plan;
  readonly #layout: ImageLayout;
  readonly #format: ErofsFormat;
  readonly #bytes: Buffer;
  readonly #view: DataView;

  constructor(plan: Plan, layout: ImageLayout, format: ErofsFormat) {
    this.#plan = plan;
    this.#layout = layout;
    this.#format = format;
    this.#bytes = Buffer.alloc(layout.imageSize);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
  }

  write(): Buffer {
    this.#writeHeaders();
    for (const inode of this.#plan.inodes) this.#writeInode(inode);
    let position = this.#layout.sharedStart;
    for (const xattr of this.#plan.shared.table) position = this.#writeEntry(position, xattr);
    return this.#bytes;
  }

  #writeHeaders(): void {
    const view = this.#view;
    const { oldest, sharedStart, imageSize, positions } = this.#layout;
    const isLate = this.#format === 2;
    view.setUint32(0, headerMagic, true);
    view.setUint32(4, headerVersion, true);
    view.setUint32(8, !isLate && this.#plan.shared.hasAcl ? flagAcl : 0, true);
    view.setUint32(12, this.#format, true);
    const at = superblockOffset;
    view.setUint32(at, superblockMagic, true);
    view.setUint32(at + 8, featureMtime | featureXattrFilter, true);
    view.setUint8(at + 12, blockBits);
    view.setUint16(at + 14, (positions[0] ?? 0) / slotSize, true);
    this.#setUint64(at + 16, this.#plan.inodes.length);
    if (!isLate) {
      this.#setUint64(at + 24, oldest.seconds);
      view.setUint32(at + 32, oldest.nanoseconds, true);
      view.setUint32(at + 44, Math.floor(sharedStart / blockSize), true);
    }
    view.setUint32(at + 36, imageSize / blockSize, true);
  }

  #writeInode(inode: PlannedInode): void {
    const view = this.#view;
    const { index, source, mode, links } = inode;
    const at = this.#layout.positions[index] ?? 0;
    const area = this.#layout.xattrSizes[index] ?? 0;
    const size = this.#layout.sizes[index] ?? 0;
    const isCompact = this.#layout.compact[index] === 1;
    const { uid, gid, mtime } = source.metadata;
    const ino = this.#format === 2 ? at / slotSize : index;
    view.setUint16(at, (this.#layout.layouts[index] ?? 0) * 2 + (isCompact ? 0 : 1), true);
    view.setUint16(at + 2, area === 0 ? 0 : (area - xattrHeaderSize) / 4 + 1, true);
    view.setUint16(at + 4, mode, true);
    const union = unionOf(inode, this.#layout, this.#format);
    let position = at;
    if (isCompact) {
      view.setUint16(at + 6, links, true);
      view.setUint32(at + 8, size, true);
      view.setUint32(at + 16, union, true);
      view.setUint32(at + 20, ino, true);
      view.setUint16(at + 24, uid, true);
      view.setUint16(at + 26, gid, true);
      position += compactSize;
    } else {
      this.#setUint64(at + 8, size);
      view.setUint32(at + 16, union, true);
      view.setUint32(at + 20, ino, true);
      view.setUint32(at + 24, uid, true);
      view.setUint32(at + 28, gid, true);
      this.#setUint64(at + 32, mtime.seconds);
      view.setUint32(at + 40, this.#format === 2 ? 0 : mtime.nanoseconds, true);
      view.setUint32(at + 44, links, true);
      position += extendedSize;
    }
    if (area > 0) position = this.#writeXattrs(position, inode.xattrs);
    this.#writeData(position, inode);
  }

  #writeXattrs(at: number, xattrs: readonly PooledXattr[]): number {
    const { shared, local } = this.#plan.pool.split(xattrs);
    let filter = 0xffffffff;
    for (const { name } of xattrs) filter &= ~name.filterBit;
    this.#view.setUint32(at, filter >>> 0, true);
    this.#view.setUint8(at + 4, shared.length);
    let position = at + xattrHeaderSize;
    for (const { id } of shared) {
      this.#view.setUint32(position, id, true);
      position += 4;
    }
    for (const xattr of local) position = this.#writeEntry(position, xattr);
    return position;
  }

  #writeEntry(at: number, xattr: PooledXattr): number {
    const { name, value } = xattr;
    this.#view.setUint8(at, name.suffix.length);
    this.#view.setUint8(at + 1, name.prefix);
    this.#view.setUint16(at + 2, value.length, true);
    this.#bytes.write(name.suffix, at + 4, "latin1");
    this.#bytes.write(value, at + 4 + name.suffix.length, "latin1");
    return at + entrySize(xattr);
  }

  /** @param behind the inode, where its tail goes */
  #writeData(behind: number, inode: PlannedInode): void {
    const { index } = inode;
    const blocks = this.#layout.blocks[index] ?? 0;
    const tail = this.#layout.tails[index] ?? 0;
    const start = (this.#layout.firstBlocks[index] ?? 0) * blockSize;
    const content = contentOf(inode);
    if (inode.source.kind === "directory") {
      let first = 0;
      for (let block = 0; block < blocks; block++) first = this.#writeDirents(start + block * blockSize, inode, first);
      if (tail > 0) this.#writeDirents(behind, inode, first);
    } else if (inode.source.kind === "external") {
      this.#bytes.fill(0xff, start, start + blocks * blockSize);
      for (let position = 0; position < tail; position += 4) this.#view.setUint32(behind + position, nullChunk, true);
    } else if (typeof content === "string") {
      this.#bytes.write(content, blocks > 0 ? start : behind, "latin1");
    } else if (content !== undefined) {
      const inBlocks = content.length - tail;
      content.copy(this.#bytes, start, 0, inBlocks);
      content.copy(this.#bytes, behind, inBlocks);
    }
  }

  /** As many as one block holds, all entries before all names; returns the index of the next one. */
  #writeDirents(at: number, { names, targets }: PlannedInode, first: number): number {
    const end = endOfBlock(names, first);
    let entry = at;
    let position = at + (end - first) * direntSize;
    for (let index = first; index < end; index++) {
      const name = names[index];
      const target = targets[index];
      if (name === undefined || target === undefined) throw new Error("a name without an inode");
      this.#view.setUint32(entry, (this.#layout.positions[target.index] ?? 0) / slotSize, true);
      this.#view.setUint16(entry + 8, position - at, true);
      this.#view.setUint8(entry + 10, target.direntType);
      entry += direntSize;
      position += this.#bytes.write(name, position, "latin1");
    }
    return end;
  }

  /** In two's complement: an integer of up to 53 bits and a sign. */
  #setUint64(at: number, value: number): void {
    this.#view.setUint32(at, value >>> 0, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32) >>> 0, true);
  }
}
