import { createHash, hash, type Hash } from "node:crypto";
import fs from "node:fs";
import { type ByteString, bytesOf, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { type Checksum, type FileMetadata, fileHeader, objectPath } from "#formats/ostree-objects.ts";
import { canonicalXattrs, type Xattr } from "#formats/xattrs.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs, setXattr, type XattrTarget } from "#linux/xattr.ts";
import { type ContentReader, readOnce, scratchBytes } from "#sharing/read-once.ts";
import { createdMode, shareContent, type SharedSource, type SharingPolicy, type ShareOutcome } from "#sharing/share.ts";

/** Where file objects go. Plain values, so that a worker can be sent it. */
export interface FileObjectTarget {
  readonly objects: string;
  readonly staging: string;
  readonly policy: SharingPolicy;
  /** New files in the staging folder have xattrs that nobody asked for (an SELinux kernel's labels). */
  readonly inheritsXattrs: boolean;
}

export interface StoredFileObject {
  readonly checksum: Checksum;
  /** `present`: the repository has the object, or this import made it of an equal file. `symlink`: it is new, and has no content to share. */
  readonly outcome: ShareOutcome | "present" | "symlink";
}

/** The checksum of a file object, from its metadata and from its content as it is read. */
export class ChecksumReader implements ContentReader {
  readonly #header: Buffer;
  readonly #size: number;
  #checksum: Checksum | undefined;
  #state: Hash | undefined;

  constructor(metadata: FileMetadata, size: number) {
    this.#header = fileHeader(metadata);
    this.#size = size;
  }

  update(piece: Buffer): void {
    const header = this.#header;
    if (piece.length === this.#size && header.length <= scratchBytes) {
      // One call for a small file: half the price of three.
      const whole = Buffer.from(piece.buffer, piece.byteOffset - header.length, header.length + piece.length);
      header.copy(whole);
      this.#checksum = hash("sha256", whole, "hex") as Checksum;
      return;
    }
    this.#state ??= createHash("sha256").update(header);
    this.#state.update(piece);
  }

  checksum(): Checksum {
    this.#checksum ??= (this.#state ?? createHash("sha256").update(this.#header)).digest("hex") as Checksum;
    return this.#checksum;
  }
}

/**
 * Gives a regular file, whose checksum is known, to the repository's staging folder; its content is shared, not
 * copied. On a file system that shows other xattrs than it was given the object is named by what is to be seen; one whose
 * name is `fixed`, by a commit that exists, is refused then ("unsupported").
 */
export function storeRegular(
  target: FileObjectTarget,
  source: Omit<SharedSource, "metadata">,
  metadata: FileMetadata,
  checksum: Checksum,
  fixed: boolean,
): StoredFileObject {
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${target.objects}/${name}`)) return { checksum, outcome: "present" };
  const staged = `${target.staging}/${name}`;
  let truth = checksum;
  const outcome = shareContent({ ...source, metadata }, staged, target.policy, (fd) => {
    truth = finishInode(fd, checksum, target, source.stat.size, metadata);
  });
  if (outcome === "exists") return { checksum, outcome: "present" };
  if (truth !== checksum) {
    if (fixed) throw shownOtherwise(checksum, staged, metadata);
    moveStaged(target, staged, truth);
  }
  return { checksum: truth, outcome };
}

/** Gives a new inode its owner, mode and xattrs; returns its checksum as the file system then shows it. */
function finishInode(
  fd: number,
  checksum: Checksum,
  target: FileObjectTarget,
  size: number,
  metadata: FileMetadata,
): Checksum {
  // chown clears setuid bits and capabilities, so it goes first.
  if (metadata.uid !== 0 || metadata.gid !== 0) fs.fchownSync(fd, metadata.uid, metadata.gid);
  if ((metadata.mode & 0o7777) !== createdMode(metadata)) fs.fchmodSync(fd, metadata.mode & 0o7777);
  const wanted = canonicalXattrs(metadata.xattrs);
  for (const xattr of wanted) setXattr({ fd }, xattr.name, xattr.value);
  fs.futimesSync(fd, Date.now() / 1000, 0);
  if (wanted.length === 0 && !target.inheritsXattrs) return checksum;
  const actual = readXattrs({ fd });
  if (sameXattrs(wanted, actual)) return checksum;
  // XFS shows an ACL under a second name of its own. The checksum covers what libostree will see there.
  const reader = new ChecksumReader({ ...metadata, xattrs: actual }, size);
  readOnce(fd, size, [reader]);
  return reader.checksum();
}

function moveStaged(target: FileObjectTarget, staged: string, checksum: Checksum): void {
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${target.objects}/${name}`)) fs.unlinkSync(staged);
  else fs.renameSync(staged, `${target.staging}/${name}`);
}

export function storeSymlink(
  target: FileObjectTarget,
  linkTarget: ByteString,
  metadata: FileMetadata,
): StoredFileObject {
  const checksum = hash("sha256", fileHeader(metadata, linkTarget), "hex") as Checksum;
  const name = objectPath(checksum, "file");
  if (fs.lstatSync(`${target.objects}/${name}`, { throwIfNoEntry: false }) !== undefined)
    return { checksum, outcome: "present" };
  const staged = `${target.staging}/${name}`;
  try {
    fs.symlinkSync(bytesOf(linkTarget), staged);
  } catch (error) {
    if (isErrno(error, "EEXIST")) return { checksum, outcome: "present" };
    throw error;
  }
  if (metadata.uid !== 0 || metadata.gid !== 0) fs.lchownSync(staged, metadata.uid, metadata.gid);
  for (const xattr of canonicalXattrs(metadata.xattrs)) setXattr({ path: staged }, xattr.name, xattr.value);
  return { checksum, outcome: "symlink" };
}

/** Stages an empty file that no layer has: one that stands for a whiteout. */
export function storeEmptyFile(
  target: Pick<FileObjectTarget, "objects" | "staging">,
  metadata: FileMetadata,
): Checksum {
  const checksum = hash("sha256", fileHeader(metadata), "hex") as Checksum;
  const name = objectPath(checksum, "file");
  if (fs.existsSync(`${target.objects}/${name}`)) return checksum;
  const fd = fs.openSync(`${target.staging}/${name}`, "w", 0o600);
  try {
    fs.fchmodSync(fd, metadata.mode & 0o7777);
    for (const xattr of canonicalXattrs(metadata.xattrs)) setXattr({ fd }, xattr.name, xattr.value);
    fs.futimesSync(fd, Date.now() / 1000, 0);
  } finally {
    fs.closeSync(fd);
  }
  return checksum;
}

/** What libostree sees of an inode. */
export function readXattrs(target: XattrTarget): readonly Xattr[] {
  const xattrs: Xattr[] = [];
  for (const name of listXattrs(target)) {
    const value = getXattr(target, name);
    if (value !== undefined) xattrs.push({ name, value });
  }
  return canonicalXattrs(xattrs);
}

function sameXattrs(a: readonly Xattr[], b: readonly Xattr[]): boolean {
  return a.length === b.length && a.every((xattr, i) => xattr.name === b[i]?.name && xattr.value.equals(b[i].value));
}

function shownOtherwise(checksum: Checksum, staged: string, metadata: FileMetadata): OneholdError {
  const given = new Set<string>(metadata.xattrs.map(({ name }) => name));
  const others = listXattrs({ path: staged }).filter((name) => !given.has(name));
  const names = others.length === 0 ? "other extended attributes" : others.map(displayBytes).join(", ");
  return new OneholdError(
    "unsupported",
    `ostree object ${checksum} of the image can't be stored here: its file shows ${names}, of which its checksum does not know`,
    {
      subject: checksum,
      hint: others.some((name) => displayBytes(name) === "security.selinux")
        ? "This kernel labels every new file: use an image whose files have SELinux labels."
        : "XFS shows ACLs under a second name: use a sysroot on Btrfs or ext4, or an image without ACLs.",
    },
  );
}
