import fs from "node:fs";
import path from "node:path";
import { byteString, type ByteString, bytesOf, displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import type { Timestamp } from "#formats/composefs-tree.ts";
import { noXattrs, type Xattr } from "#formats/xattrs.ts";
import { directory, type DirectoryNode, type FileNode, type TreeNode } from "#image/tree.ts";
import { openBeneath } from "#linux/beneath.ts";
import { type Descriptor, openDirectory, pathOfFd } from "#linux/descriptor.ts";
import { isErrno, SystemError, withSystemErrors } from "#linux/system-error.ts";
import { getXattr, listXattrs } from "#linux/xattr.ts";

/** "kept": names of one inode are one node. "split": each name is a file of its own, as mkcomposefs has it. */
export type Hardlinks = "kept" | "split";

/**
 * A directory as the tree of an image: with all that its inodes have, but for the contents of files. It is one layer, the
 * paths of its files being those below the directory. Other file systems mounted in it belong to it.
 * Errors: "not-found" for no directory, SystemError for what can't be read.
 */
export function scanDirectory(root: string, hardlinks: Hardlinks): DirectoryNode {
  using opened = openRoot(root);
  return new Scanner(opened, hardlinks).scan();
}

/** All of a file of such a tree, as it is now. */
export function readFileOf(root: string, file: FileNode): Buffer {
  using opened = openRoot(root);
  const flags = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;
  using source = openBeneath(opened.fd, bytesOf(joinBytes(file.folder, file.name)), flags);
  return fs.readFileSync(source.fd);
}

function openRoot(root: string): Descriptor {
  try {
    return openDirectory(root);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
    throw new OneholdError("not-found", `${root} is not a directory`, {
      cause: error,
      subject: root,
      hint: "Name a directory with a whole file system in it.",
    });
  }
}

type Leaf = Exclude<TreeNode, DirectoryNode>;

class Scanner {
  readonly #root: Descriptor;
  readonly #hardlinks: Hardlinks;
  /** By device and inode. Not only those with several links: fuse-overlayfs does not tell their number. */
  readonly #leaves = new Map<string, Leaf>();
  /** Most files of a tree have one of a few owners and modes. */
  readonly #metadata = new Map<string, FileMetadata>();

  constructor(root: Descriptor, hardlinks: Hardlinks) {
    this.#root = root;
    this.#hardlinks = hardlinks;
  }

  scan(): DirectoryNode {
    const at = Buffer.from(`/proc/self/fd/${this.#root.fd}/.`);
    return this.#directory("" as ByteString, fs.lstatSync(at, { bigint: true }), this.#xattrs(at));
  }

  #directory(folder: ByteString, stat: fs.BigIntStats, xattrs: readonly Xattr[]): DirectoryNode {
    const children = new Map<ByteString, TreeNode>();
    const below: { name: ByteString; stat: fs.BigIntStats; xattrs: readonly Xattr[] }[] = [];
    {
      const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW;
      // Only as long as it is listed: a tree may be deeper than a process may have files open.
      using opened = openBeneath(this.#root.fd, folder === "" ? "." : bytesOf(folder), flags);
      const place = Buffer.from(`/proc/self/fd/${opened.fd}/`);
      const names = withSystemErrors(() => fs.readdirSync(place, { encoding: "buffer" })).map(byteString);
      // So that of several names of a file the same one is the first, each time.
      for (const name of names.toSorted()) {
        const at = Buffer.concat([place, bytesOf(name)]);
        try {
          const found = withSystemErrors(() => fs.lstatSync(at, { bigint: true }));
          if (found.isDirectory()) {
            // Holds its place among the names.
            children.set(name, placeholder);
            below.push({ name, stat: found, xattrs: this.#xattrs(at) });
          } else {
            children.set(name, this.#leaf(folder, name, at, found));
          }
        } catch (error) {
          throw this.#named(error, joinBytes(folder, name));
        }
      }
    }
    for (const each of below) {
      children.set(each.name, this.#directory(joinBytes(folder, each.name), each.stat, each.xattrs));
    }
    return directory(this.#metadataOf(stat, xattrs), children, timeOf(stat));
  }

  /** The same failure, of a path that the user knows. */
  #named(error: unknown, below: ByteString): unknown {
    if (!(error instanceof SystemError)) return error;
    const shown = `${pathOfFd(this.#root.fd) ?? ""}/${displayBytes(below)}`;
    return new SystemError(error.syscall, error.errno, shown, { cause: error });
  }

  #leaf(folder: ByteString, name: ByteString, at: Buffer, stat: fs.BigIntStats): Leaf {
    const key = `${stat.dev}:${stat.ino}`;
    const known = this.#hardlinks === "kept" ? this.#leaves.get(key) : undefined;
    if (known !== undefined) return known;
    const leaf = this.#newLeaf(folder, name, at, stat);
    if (this.#hardlinks === "kept") this.#leaves.set(key, leaf);
    return leaf;
  }

  #newLeaf(folder: ByteString, name: ByteString, at: Buffer, stat: fs.BigIntStats): Leaf {
    const metadata = this.#metadataOf(stat, this.#xattrs(at));
    const mtime = timeOf(stat);
    if (stat.isFile()) return { kind: "file", metadata, size: Number(stat.size), layer: 0, folder, name, mtime };
    if (stat.isSymbolicLink()) {
      const target = withSystemErrors(() => fs.readlinkSync(at, { encoding: "buffer" }));
      return { kind: "symlink", metadata, target: byteString(target), mtime };
    }
    const type = stat.isFIFO() ? "fifo" : stat.isSocket() ? "socket" : stat.isBlockDevice() ? "block" : "char";
    return { kind: "special", metadata, type, ...deviceOf(stat), mtime };
  }

  #metadataOf(stat: fs.BigIntStats, xattrs: readonly Xattr[]): FileMetadata {
    const [uid, gid, mode] = [Number(stat.uid), Number(stat.gid), Number(stat.mode)];
    if (xattrs.length > 0) return { uid, gid, mode, xattrs };
    const key = `${uid}:${gid}:${mode}`;
    let metadata = this.#metadata.get(key);
    if (metadata === undefined) this.#metadata.set(key, (metadata = { uid, gid, mode, xattrs }));
    return metadata;
  }

  #xattrs(at: Buffer): readonly Xattr[] {
    const names = listXattrs({ path: at });
    if (names.length === 0) return noXattrs;
    return names.toSorted().flatMap((name) => {
      const value = getXattr({ path: at }, name);
      return value === undefined ? [] : [{ name, value }];
    });
  }
}

const placeholder = directory({ uid: 0, gid: 0, mode: 0, xattrs: noXattrs }, new Map());

function timeOf({ mtimeNs }: fs.BigIntStats): Timestamp {
  const nanoseconds = Number(((mtimeNs % billion) + billion) % billion);
  return { seconds: Number((mtimeNs - BigInt(nanoseconds)) / billion), nanoseconds };
}

const billion = 1_000_000_000n;

/** As stat(2) gives it: see gnu_dev_major() in sys/sysmacros.h. */
function deviceOf({ rdev }: fs.BigIntStats): { deviceMajor: number; deviceMinor: number } {
  const number = Number(rdev);
  return { deviceMajor: (number >>> 8) & 0xfff, deviceMinor: (number & 0xff) | ((number >>> 12) & 0xfff00) };
}

/** The path that a user gave, without symlinks; refuses the root of the running system, which changes meanwhile. */
export function demandOtherRoot(root: string): string {
  let real: string;
  try {
    real = fs.realpathSync(root);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
    return path.resolve(root);
  }
  if (real !== "/") return real;
  throw new OneholdError("usage", "the root of the running system can't be taken: it changes while it is read", {
    subject: root,
    hint: "Mount the file system of the image elsewhere, and name that directory.",
  });
}
