import { createHash, hash } from "node:crypto";
import fs from "node:fs";
import { type ByteString, bytesOf, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { type Checksum, type FileMetadata, fileHeader, objectPath } from "#formats/ostree-objects.ts";
import { canonicalXattrs, type Xattr } from "#formats/xattrs.ts";
import { openBeneath } from "#linux/beneath.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs, setXattr } from "#linux/xattr.ts";
import { type SharingPolicy, shareContent, type ShareOutcome } from "#sharing/share.ts";

/** Files and symlinks of one layer that shall be objects; sent to a worker, so plain values only. */
export interface FileBatch {
  /** The layer's files (an overlay diff folder). */
  readonly root: string;
  readonly objects: string;
  readonly staging: string;
  readonly policy: SharingPolicy;
  /** New files in the staging folder have xattrs that nobody asked for (an SELinux kernel's labels). */
  readonly inheritsXattrs: boolean;
  readonly files: readonly FileToStore[];
  /** The owners, modes and xattrs that `files` point to. */
  readonly metadata: readonly FileMetadata[];
}

export interface FileToStore {
  readonly path: ByteString;
  /** Bytes, as the layer's tar says. */
  readonly size: number;
  /** Index into the batch's metadata. */
  readonly metadata: number;
  /** Of a symlink. */
  readonly target?: ByteString;
  /** What the layer's own checksum demands, where it names its objects itself. */
  readonly expected?: Checksum;
}

/** In the order of the batch's files. */
export interface StoredFile {
  readonly checksum: Checksum;
  /** `present`: the repository has the object, or this import made it of an equal file. `symlink`: it is new, and has no content to share. */
  readonly outcome: ShareOutcome | "present" | "symlink";
}

/** Larger files are hashed in pieces of this many bytes; smaller ones with one call. */
const pieceSize = 1 << 20;
const headroom = 4096;
const wholeFileLimit = 256 * 1024;
const buffer = Buffer.allocUnsafeSlow(pieceSize + headroom);

/**
 * Gives a batch of files to the repository's staging folder: each is read once, for its checksum; its content
 * is shared, not copied. Runs in a worker, synchronously.
 */
export function storeFiles(batch: FileBatch): StoredFile[] {
  using root = openDirectory(batch.root);
  const table = batch.metadata.map(withBuffers);
  return batch.files.map((file) => {
    const metadata = table[file.metadata];
    if (metadata === undefined) throw new Error("a file's metadata is missing from its batch");
    return file.target === undefined
      ? storeRegular(batch, root, file, metadata)
      : storeSymlink(batch, file.target, metadata);
  });
}

/** What crosses to a worker arrives with plain byte arrays. */
function withBuffers(metadata: FileMetadata): FileMetadata {
  const xattrs = metadata.xattrs.map(({ name, value }) => ({ name, value: Buffer.from(value) }));
  return { ...metadata, xattrs };
}

function storeRegular(batch: FileBatch, root: Descriptor, file: FileToStore, metadata: FileMetadata): StoredFile {
  using source = openBeneath(root.fd, bytesOf(file.path), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  const before = fs.fstatSync(source.fd);
  if (!before.isFile() || before.size !== file.size) {
    throw damaged(
      batch,
      file,
      `is ${before.isFile() ? `${before.size} bytes` : "not a regular file"}, its tar says ${file.size} bytes`,
    );
  }
  const checksum = checksumOfContent(source.fd, file.size, fileHeader(metadata));
  if (file.expected !== undefined && checksum !== file.expected) {
    throw damaged(batch, file, `has the ostree checksum ${checksum}, its name says ${file.expected}`);
  }
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${batch.objects}/${name}`)) return { checksum, outcome: "present" };
  const staged = `${batch.staging}/${name}`;
  let truth = checksum;
  const outcome = shareContent(
    { directoryFd: root.fd, path: bytesOf(file.path), fd: source.fd, stat: before, metadata },
    staged,
    batch.policy,
    (fd) => {
      truth = finishInode(fd, checksum, batch, file.size, metadata);
    },
  );
  if (outcome === "exists") return { checksum, outcome: "present" };
  if (truth !== checksum) moveStaged(batch, staged, truth);
  return { checksum: truth, outcome };
}

/** Gives a new inode its owner, mode and xattrs; returns its checksum as the file system then shows it. */
function finishInode(fd: number, checksum: Checksum, batch: FileBatch, size: number, metadata: FileMetadata): Checksum {
  // chown clears setuid bits and capabilities, so it goes first.
  if (metadata.uid !== 0 || metadata.gid !== 0) fs.fchownSync(fd, metadata.uid, metadata.gid);
  fs.fchmodSync(fd, metadata.mode & 0o7777);
  const wanted = canonicalXattrs(metadata.xattrs);
  for (const xattr of wanted) setXattr({ fd }, xattr.name, xattr.value);
  fs.futimesSync(fd, Date.now() / 1000, 0);
  if (wanted.length === 0 && !batch.inheritsXattrs) return checksum;
  const actual = readXattrs(fd);
  if (sameXattrs(wanted, actual)) return checksum;
  // XFS shows an ACL under a second name of its own. The checksum covers what libostree will see there.
  return checksumOfContent(fd, size, fileHeader({ ...metadata, xattrs: actual }));
}

function moveStaged(batch: FileBatch, staged: string, checksum: Checksum): void {
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${batch.objects}/${name}`)) fs.unlinkSync(staged);
  else fs.renameSync(staged, `${batch.staging}/${name}`);
}

function storeSymlink(batch: FileBatch, target: ByteString, metadata: FileMetadata): StoredFile {
  const checksum = hash("sha256", fileHeader(metadata, target), "hex") as Checksum;
  const name = objectPath(checksum, "file");
  if (fs.lstatSync(`${batch.objects}/${name}`, { throwIfNoEntry: false }) !== undefined)
    return { checksum, outcome: "present" };
  const staged = `${batch.staging}/${name}`;
  try {
    fs.symlinkSync(bytesOf(target), staged);
  } catch (error) {
    if (isErrno(error, "EEXIST")) return { checksum, outcome: "present" };
    throw error;
  }
  if (metadata.uid !== 0 || metadata.gid !== 0) fs.lchownSync(staged, metadata.uid, metadata.gid);
  for (const xattr of canonicalXattrs(metadata.xattrs)) setXattr({ path: staged }, xattr.name, xattr.value);
  return { checksum, outcome: "symlink" };
}

/** Stages an empty file that no layer has: the mark of a whiteout. */
export function storeEmptyFile(batch: Pick<FileBatch, "objects" | "staging">, metadata: FileMetadata): Checksum {
  const checksum = hash("sha256", fileHeader(metadata), "hex") as Checksum;
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${batch.objects}/${name}`)) return checksum;
  const fd = fs.openSync(`${batch.staging}/${name}`, "w", 0o600);
  try {
    fs.fchmodSync(fd, metadata.mode & 0o7777);
    fs.futimesSync(fd, Date.now() / 1000, 0);
  } finally {
    fs.closeSync(fd);
  }
  return checksum;
}

function checksumOfContent(fd: number, size: number, header: Buffer): Checksum {
  if (size <= wholeFileLimit && header.length <= headroom) {
    header.copy(buffer, 0);
    readFully(fd, header.length, size, 0);
    return hash("sha256", buffer.subarray(0, header.length + size), "hex") as Checksum;
  }
  const state = createHash("sha256").update(header);
  for (let position = 0; position < size; position += pieceSize) {
    const length = Math.min(pieceSize, size - position);
    readFully(fd, 0, length, position);
    state.update(buffer.subarray(0, length));
  }
  return state.digest("hex") as Checksum;
}

function readFully(fd: number, offset: number, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    const count = fs.readSync(fd, buffer, offset + done, length - done, position + done);
    if (count === 0) throw new OneholdError("corrupt", "a file became shorter while it was read");
    done += count;
  }
}

function readXattrs(fd: number): readonly Xattr[] {
  const xattrs: Xattr[] = [];
  for (const name of listXattrs({ fd })) {
    const value = getXattr({ fd }, name);
    if (value !== undefined) xattrs.push({ name, value });
  }
  return canonicalXattrs(xattrs);
}

function sameXattrs(a: readonly Xattr[], b: readonly Xattr[]): boolean {
  return a.length === b.length && a.every((xattr, i) => xattr.name === b[i]?.name && xattr.value.equals(b[i].value));
}

function damaged(batch: FileBatch, file: FileToStore, how: string): OneholdError {
  return new OneholdError("corrupt", `${batch.root}/${displayBytes(file.path)} ${how}`, {
    subject: batch.root,
    hint: "The image store's copy is damaged: remove the image and pull it again.",
  });
}
