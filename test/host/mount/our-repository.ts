import { type ByteString, byteStringOfText, joinBytes } from "#base/bytes.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import { type ObjectId, objectPathOf } from "#formats/composefs-objects.ts";
import type { ComposefsDirectory, ComposefsInode } from "#formats/composefs-tree.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { linkObject, writeRef } from "#stores/composefs/links.ts";
import type { Repository } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged, stageObject } from "#stores/composefs/staging.ts";

/**
 * Puts an image of a tree into a repository of ours, with the content of its files as objects. `contentOf` gets a
 * path below the tree.
 */
export function addOurImage(
  repository: Repository,
  tree: ComposefsDirectory,
  format: ImageFormat,
  contentOf: (path: ByteString) => Buffer,
): ObjectId {
  using staging = makeStaging(repository);
  // A leaf with several names stays one leaf.
  const done = new Map<ComposefsInode, ComposefsInode>();
  const withObjects = (inode: ComposefsInode, path: ByteString): ComposefsInode => {
    if (inode.kind === "directory") return directory(inode, path);
    const known = done.get(inode);
    if (known !== undefined) return known;
    let result: ComposefsInode = inode;
    if (inode.kind === "external") {
      const id = stageObject(repository, staging, contentOf(path));
      result = { ...inode, path: byteStringOfText(objectPathOf(id)), digest: Buffer.from(id, "hex") };
    }
    done.set(inode, result);
    return result;
  };
  const directory = (inode: ComposefsDirectory, path: ByteString): ComposefsDirectory => ({
    ...inode,
    entries: new Map(inode.entries.entries().map(([name, child]) => [name, withObjects(child, joinBytes(path, name))])),
  });
  const image = writeErofs(directory(tree, "" as ByteString), { format });
  const id = stageObject(repository, staging, image);
  publishStaged(repository, staging);
  linkObject(repository, "images", id, id);
  writeRef(repository, "images", `test/v${format}`, id);
  return id;
}
