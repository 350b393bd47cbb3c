import type { ByteString } from "#base/bytes.ts";
import type { ComposefsDirectory } from "./composefs-tree.ts";
import { readErofs } from "./erofs-reader.ts";

/** A file that an image needs beside it. */
export interface BackingFile {
  /** Below the folder of objects; empty where nothing says so. */
  readonly path: ByteString;
  readonly digest: Buffer | undefined;
  readonly size: number;
}

/** The backing files of an image, each path once, in the order of the paths' bytes. @throws OneholdError as `readErofs` */
export function backingFilesOf(image: Buffer): BackingFile[] {
  const files = new Map<ByteString, BackingFile>();
  collect(readErofs(image), files);
  return [...files.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function collect(directory: ComposefsDirectory, to: Map<ByteString, BackingFile>): void {
  for (const inode of directory.entries.values()) {
    if (inode.kind === "directory") collect(inode, to);
    else if (inode.kind === "external") to.set(inode.path, inode);
  }
}
