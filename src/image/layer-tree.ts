import type { ByteString } from "#base/bytes.ts";
import { displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Timestamp } from "#formats/composefs-tree.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import type { TarEntry } from "#formats/tar.ts";
import type { Xattr } from "#formats/xattrs.ts";
import type { DirectoryNode, FileNode, SpecialNode, SymlinkNode, TreeNode } from "./tree.ts";

const typeBits = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
} as const;

/** As many symlinks as Linux follows in one path. */
const maxSymlinks = 40;

/**
 * Owner, mode and xattrs of a directory that the layer's tar implies without listing it, and of its root: the
 * store's own inode has them (containers/storage makes such directories, so only the inode can tell what it chose).
 */
export type ImpliedDirectory = (path: ByteString) => FileMetadata;

/**
 * Builds a layer's tree from its tar headers, in the tar's order, with the meaning that unpacking them one
 * by one into an empty folder has (which is what containers/storage did): later entries replace earlier
 * ones, a hardlink shares the inode of its target and its header's owner and mode win for all its names, a
 * path through a symlink of the same layer goes where the symlink points, never out of the layer.
 */
export class LayerTreeBuilder {
  readonly #layer: number;
  readonly #root: MutableDirectory = mutableDirectory("" as ByteString);
  readonly #metadata = new MetadataPool();
  #latestTime: Timestamp = { seconds: 0, nanoseconds: 0 };

  constructor(layer: number) {
    this.#layer = layer;
  }

  /** Returns the file whose content the entry brings, if it does. */
  add(entry: TarEntry): FileNode | undefined {
    const names = this.#clean(entry.name);
    const name = names.pop();
    if (name === undefined) {
      // containers/storage gives every layer's root a mode of its own choice, whatever the tar says of `./`.
      if (entry.type !== "directory") throw this.#refuse(entry, "it replaces the root directory");
      return undefined;
    }
    if (names.length === 0 && name.startsWith(".wh..wh.") && name !== opaqueMarker) return undefined; // AUFS' own files
    const parent = this.#descend(names, entry);
    if (name === opaqueMarker) {
      parent.opaque = true;
    } else if (name.startsWith(whiteoutPrefix)) {
      parent.whiteouts.add(name.slice(whiteoutPrefix.length) as ByteString);
    } else {
      return this.#place(parent, name, entry);
    }
    return undefined;
  }

  /** The tree; `implied` is asked for each directory that no entry listed. */
  finish(implied: ImpliedDirectory): DirectoryNode {
    return this.#freeze(this.#root, implied);
  }

  #place(parent: MutableDirectory, name: ByteString, entry: TarEntry): FileNode | undefined {
    switch (entry.type) {
      case "directory": {
        const old = parent.children.get(name);
        const directory = old?.kind === "mutable" ? old : mutableDirectory(joinBytes(parent.path, name));
        directory.metadata = this.#metadataOf(entry, typeBits.directory);
        directory.mtime = this.#timeOf(entry);
        parent.children.set(name, directory);
        return undefined;
      }
      case "file": {
        const file: FileNode = {
          kind: "file",
          metadata: this.#metadataOf(entry, typeBits.file),
          size: entry.size,
          layer: this.#layer,
          folder: parent.path,
          name,
          mtime: this.#timeOf(entry),
        };
        parent.children.set(name, file);
        return file;
      }
      case "symlink":
        parent.children.set(name, {
          kind: "symlink",
          // Linux knows no other mode for a symlink, whatever the header says.
          metadata: this.#metadataOf({ ...entry, mode: 0o777 }, typeBits.symlink),
          target: entry.linkName,
          mtime: this.#timeOf(entry),
        } satisfies SymlinkNode);
        return undefined;
      case "hardlink":
        parent.children.set(name, this.#linked(entry));
        return undefined;
      case "char":
      case "block":
      case "fifo":
        parent.children.set(name, {
          kind: "special",
          metadata: this.#metadataOf(entry, typeBits[entry.type]),
          type: entry.type,
          deviceMajor: entry.devMajor,
          deviceMinor: entry.devMinor,
          mtime: this.#timeOf(entry),
        } satisfies SpecialNode);
        return undefined;
      case "other":
        throw this.#refuse(entry, "its tar entry has a type that no file system object has");
    }
  }

  /** The target's node, with the owner and mode that the link's own header set on the shared inode. */
  #linked(entry: TarEntry): Exclude<TreeNode, DirectoryNode> {
    const names = this.#clean(entry.linkName);
    const name = names.pop();
    const parent = name === undefined ? undefined : this.#find(names);
    const target = name === undefined ? undefined : parent?.children.get(name);
    if (target === undefined || target.kind === "mutable") {
      throw this.#refuse(entry, `it is a hardlink to ${displayBytes(entry.linkName)}, which its layer does not have`);
    }
    const type = target.metadata.mode & 0o170000;
    const xattrs = mergeXattrs(target.metadata.xattrs, entry.xattrs);
    const mode = target.kind === "symlink" ? 0o777 : entry.mode;
    const metadata = this.#metadataOf({ ...entry, mode, xattrs }, type);
    // One inode, several names: the node itself is shared, so what the later header says holds for all.
    Object.assign(target, { metadata });
    return target;
  }

  #clean(path: ByteString): ByteString[] {
    const names: ByteString[] = [];
    for (const part of path.split("/") as ByteString[]) {
      if (part === "" || part === ".") continue;
      if (part !== "..") names.push(part);
      else if (names.pop() === undefined) {
        throw new OneholdError("corrupt", `layer entry ${displayBytes(path)} leads out of its layer`);
      }
    }
    return names;
  }

  #find(names: readonly ByteString[]): MutableDirectory | undefined {
    return this.#walk(names, () => undefined);
  }

  #descend(names: readonly ByteString[], entry: TarEntry): MutableDirectory {
    const found = this.#walk(names, (parent, name) => {
      const made = mutableDirectory(joinBytes(parent.path, name));
      parent.children.set(name, made);
      return made;
    });
    if (found === undefined) throw this.#refuse(entry, "a part of its path is not a directory");
    return found;
  }

  #walk(
    names: readonly ByteString[],
    missing: (parent: MutableDirectory, name: ByteString) => MutableDirectory | undefined,
  ): MutableDirectory | undefined {
    const todo = names.toReversed();
    const stack = [this.#root];
    let symlinks = 0;
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      const here = stack.at(-1);
      if (here === undefined) return undefined;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (stack.length > 1) stack.pop();
        continue;
      }
      const node = here.children.get(name);
      if (node?.kind === "symlink") {
        if (++symlinks > maxSymlinks) return undefined;
        if (node.target.startsWith("/")) stack.length = 1;
        todo.push(...(node.target.split("/") as ByteString[]).toReversed());
        continue;
      }
      const next = node ?? missing(here, name);
      if (next?.kind !== "mutable") return undefined;
      stack.push(next);
    }
    return stack.at(-1);
  }

  #metadataOf(entry: Pick<TarEntry, "uid" | "gid" | "mode" | "xattrs">, type: number): FileMetadata {
    return this.#metadata.get(entry.uid, entry.gid, type | (entry.mode & 0o7777), entry.xattrs);
  }

  /** Most of a package's files have the same one. */
  #timeOf({ mtime }: TarEntry): Timestamp {
    const latest = this.#latestTime;
    if (mtime.seconds !== latest.seconds || mtime.nanoseconds !== latest.nanoseconds) this.#latestTime = mtime;
    return this.#latestTime;
  }

  #freeze(directory: MutableDirectory, implied: ImpliedDirectory): DirectoryNode {
    const children = new Map<ByteString, TreeNode>();
    for (const [name, child] of directory.children) {
      children.set(name, child.kind === "mutable" ? this.#freeze(child, implied) : child);
    }
    const { metadata, mtime, whiteouts, opaque } = directory;
    return {
      kind: "directory",
      metadata: metadata ?? implied(directory.path),
      children,
      whiteouts,
      opaque,
      ...(metadata === undefined ? { implied: true } : {}),
      ...(mtime === undefined ? {} : { mtime }),
    };
  }

  #refuse(entry: TarEntry, why: string): OneholdError {
    return new OneholdError("corrupt", `layer entry ${displayBytes(entry.name)} can't be unpacked: ${why}`);
  }
}

export const whiteoutPrefix = ".wh.";
export const opaqueMarker = ".wh..wh..opq";

interface MutableDirectory {
  readonly kind: "mutable";
  readonly path: ByteString;
  readonly children: Map<ByteString, MutableDirectory | FileNode | SymlinkNode | SpecialNode>;
  readonly whiteouts: Set<ByteString>;
  metadata: FileMetadata | undefined;
  mtime: Timestamp | undefined;
  opaque: boolean;
}

function mutableDirectory(path: ByteString): MutableDirectory {
  return {
    kind: "mutable",
    path,
    children: new Map(),
    whiteouts: new Set(),
    metadata: undefined,
    mtime: undefined,
    opaque: false,
  };
}

/** Nearly all files of an image share a handful of owner and mode values: one object for each. */
class MetadataPool {
  readonly #plain = new Map<string, FileMetadata>();

  get(uid: number, gid: number, mode: number, xattrs: readonly Xattr[]): FileMetadata {
    if (xattrs.length > 0) return { uid, gid, mode, xattrs };
    const key = `${uid}:${gid}:${mode}`;
    let metadata = this.#plain.get(key);
    if (metadata === undefined) {
      metadata = { uid, gid, mode, xattrs };
      this.#plain.set(key, metadata);
    }
    return metadata;
  }
}

function mergeXattrs(old: readonly Xattr[], added: readonly Xattr[]): readonly Xattr[] {
  if (added.length === 0) return old;
  const names = new Set(added.map((xattr) => xattr.name));
  return [...old.filter((xattr) => !names.has(xattr.name)), ...added];
}
