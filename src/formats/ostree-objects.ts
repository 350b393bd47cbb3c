import { hash } from "node:crypto";
import { type ByteString, displayBytes, isUtf8 } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { offsetWidth, writeOffset } from "./gvariant.ts";
import { canonicalXattrs, noXattrs, parseXattrs, serializeXattrs, type Xattr } from "./xattrs.ts";

/**
 * What an ostree repository names by checksum: here the headers of files and symlinks, and dirmetas; in
 * ostree-dirtree.ts and ostree-commit.ts the rest. All integers are big-endian, within little-endian GVariants.
 */
export type ObjectType = "commit" | "dirtree" | "dirmeta" | "file";

/** The name of an object: a SHA-256 as 64 lower-case hex digits. */
export type Checksum = string & { readonly __brand: "Checksum" };

/** What an inode has besides its name and content. */
export interface FileMetadata {
  readonly uid: number;
  readonly gid: number;
  /** With its S_IFMT bits. */
  readonly mode: number;
  readonly xattrs: readonly Xattr[];
}

/** libostree refuses to load a larger dirtree, dirmeta or commit (OSTREE_MAX_METADATA_SIZE). */
export const maxMetadataObject = 128 << 20;

const checksumLength = 32;

export function isChecksum(text: string): text is Checksum {
  return /^[0-9a-f]{64}$/.test(text);
}

/** @throws OneholdError "corrupt" */
export function parseChecksum(text: string): Checksum {
  if (isChecksum(text)) return text;
  throw new OneholdError("corrupt", `${JSON.stringify(text)} is not an ostree checksum (64 hex digits)`);
}

/** The checksum of a commit, a dirtree or a dirmeta, and of a symlink: there of its header. */
export function checksumOf(bytes: Buffer): Checksum {
  return hash("sha256", bytes, "hex") as Checksum;
}

/** Where a repository keeps it, below `objects/`. */
export function objectPath(checksum: Checksum, type: ObjectType): string {
  return `${checksum.slice(0, 2)}/${checksum.slice(2)}.${type}`;
}

/** The length of the variant (BE32) and four zero bytes. */
const prefixLength = 8;
/** uid, gid, mode, device number. */
const fieldsLength = 16;

/**
 * What a file's checksum covers before its content: SHA-256 of this and the content is the object's name. A
 * symlink has no content. The xattrs may be in any order (`canonicalXattrs`).
 * @throws OneholdError "not-utf8" for a symlink's target that ostree can't hold
 */
export function fileHeader(metadata: FileMetadata, symlinkTarget?: ByteString): Buffer {
  demandFileMode(metadata.mode, symlinkTarget !== undefined);
  if (symlinkTarget !== undefined) demandTarget(symlinkTarget);
  const xattrs = metadata.xattrs.length === 0 ? undefined : serializeXattrs(canonicalXattrs(metadata.xattrs));
  const targetEnd = fieldsLength + (symlinkTarget?.length ?? 0) + 1;
  const bodyLength = targetEnd + (xattrs?.length ?? 0);
  const width = offsetWidth(bodyLength, 1);

  const result = Buffer.allocUnsafe(prefixLength + bodyLength + width);
  result.writeUInt32BE(bodyLength + width, 0);
  result.writeUInt32BE(0, 4);
  writeOwnership(result, metadata, prefixLength);
  result.writeUInt32BE(0, prefixLength + 12); // the device number: no device is ever stored
  if (symlinkTarget !== undefined) result.write(symlinkTarget, prefixLength + fieldsLength, "latin1");
  result[prefixLength + targetEnd - 1] = 0;
  if (xattrs !== undefined) result.set(xattrs, prefixLength + targetEnd);
  writeOffset(result, targetEnd, prefixLength + bodyLength, width);
  return result;
}

/** The xattrs may be in any order (`canonicalXattrs`). */
export function serializeDirmeta(metadata: FileMetadata): Buffer {
  if (!isDirectoryMode(metadata.mode)) throw new Error(`0${metadata.mode.toString(8)} is not the mode of a directory`);
  const xattrs = serializeXattrs(canonicalXattrs(metadata.xattrs));
  const result = Buffer.allocUnsafe(12 + xattrs.length);
  writeOwnership(result, metadata, 0);
  result.set(xattrs, 12);
  return result;
}

/** @throws OneholdError "corrupt" */
export function parseDirmeta(bytes: Buffer): FileMetadata {
  const what = "an ostree dirmeta";
  demandObjectSize(bytes, what);
  if (bytes.length < 12) throw new OneholdError("corrupt", `${what} is too short (${bytes.length} bytes)`);
  const mode = bytes.readUInt32BE(8);
  if (!isDirectoryMode(mode)) {
    throw new OneholdError("corrupt", `${what} has the mode 0${mode.toString(8)}, which is not a directory's`);
  }
  const xattrs = bytes.length === 12 ? noXattrs : parseXattrs(bytes.subarray(12), what);
  return { uid: bytes.readUInt32BE(0), gid: bytes.readUInt32BE(4), mode, xattrs };
}

/** The 32 bytes of a checksum, into `target`. */
export function writeChecksum(target: Buffer, checksum: Checksum, position: number): void {
  if (target.write(checksum, position, "hex") !== checksumLength) throw new Error(`${checksum} is not a checksum`);
}

/** @throws OneholdError "corrupt" */
export function readChecksum(bytes: Buffer, what: string): Checksum {
  if (bytes.length === checksumLength) return bytes.toString("hex") as Checksum;
  throw new OneholdError("corrupt", `${what} has a checksum of ${bytes.length} bytes instead of ${checksumLength}`);
}

/** @throws OneholdError "corrupt" */
export function demandObjectSize(bytes: Buffer, what: string): void {
  if (bytes.length <= maxMetadataObject) return;
  throw new OneholdError("corrupt", `${what} has ${bytes.length} bytes, more than ostree itself loads`);
}

const regular = 0o100000;
const symlink = 0o120777;
const directory = 0o040000;

function demandFileMode(mode: number, isSymlink: boolean): void {
  const good = isSymlink ? mode === symlink : (mode & ~0o7777) === regular;
  if (good) return;
  throw new Error(`0${mode.toString(8)} is not the mode of a ${isSymlink ? "symlink (0120777)" : "regular file"}`);
}

function isDirectoryMode(mode: number): boolean {
  return (mode & ~0o7777) === directory;
}

function demandTarget(target: ByteString): void {
  const what = `the symlink target "${displayBytes(target)}"`;
  if (target.includes("\0")) throw new OneholdError("corrupt", `${what} holds a NUL`);
  if (!isUtf8(target)) throw new OneholdError("not-utf8", `${what} is not UTF-8, ostree can't hold it`);
}

function writeOwnership(target: Buffer, { uid, gid, mode }: FileMetadata, position: number): void {
  target.writeUInt32BE(uid, position);
  target.writeUInt32BE(gid, position + 4);
  target.writeUInt32BE(mode, position + 8);
}
