import type { ByteString } from "#base/bytes.ts";
import type { ComposefsDirectory, ComposefsLeaf } from "#formats/composefs-tree.ts";

/** How many inodes there are of which kind; a file with several names is one. */
export interface InodeCounts {
  directories: number;
  files: number;
  symlinks: number;
  fifos: number;
  sockets: number;
  charDevices: number;
  blockDevices: number;
}

export interface TreeCounts {
  readonly inodes: InodeCounts;
  /** Names beyond the first of each file. */
  readonly hardlinks: number;
  /** Files whose content the image itself holds. */
  readonly inline: { readonly files: number; readonly bytes: number };
  /** Files whose content is an object. */
  readonly external: { readonly files: number; readonly bytes: number };
  /** The size of each object, by its path below the folder of objects. */
  readonly objects: ReadonlyMap<ByteString, number>;
  /** Bytes of the digests of objects; absent where none has one. */
  readonly digestSize: number | undefined;
}

export function countTree(root: ComposefsDirectory): TreeCounts {
  const counter = new Counter();
  counter.directory(root);
  return counter;
}

const specials = {
  fifo: "fifos",
  socket: "sockets",
  char: "charDevices",
  block: "blockDevices",
} as const satisfies Record<string, keyof InodeCounts>;

class Counter implements TreeCounts {
  readonly inodes: InodeCounts = {
    directories: 0,
    files: 0,
    symlinks: 0,
    fifos: 0,
    sockets: 0,
    charDevices: 0,
    blockDevices: 0,
  };
  readonly inline = { files: 0, bytes: 0 };
  readonly external = { files: 0, bytes: 0 };
  readonly objects = new Map<ByteString, number>();
  hardlinks = 0;
  digestSize: number | undefined;
  readonly #seen = new Set<ComposefsLeaf>();

  directory(directory: ComposefsDirectory): void {
    this.inodes.directories++;
    for (const inode of directory.entries.values()) {
      if (inode.kind === "directory") this.directory(inode);
      else if (this.#seen.has(inode)) this.hardlinks++;
      else this.#leaf(inode);
    }
  }

  #leaf(leaf: ComposefsLeaf): void {
    this.#seen.add(leaf);
    if (leaf.kind === "symlink") this.inodes.symlinks++;
    else if (leaf.kind === "special") this.inodes[specials[leaf.type]]++;
    else {
      const size = leaf.kind === "inline" ? leaf.content.length : leaf.size;
      this.inodes.files++;
      this[leaf.kind].files++;
      this[leaf.kind].bytes += size;
      if (leaf.kind === "inline") return;
      if (leaf.path !== "") this.objects.set(leaf.path, size);
      this.digestSize ??= leaf.digest?.length;
    }
  }
}
