import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { serializeCommit } from "#formats/ostree-commit.ts";
import { type Dirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, checksumOf, type FileMetadata, serializeDirmeta } from "#formats/ostree-objects.ts";
import { type Entry, file } from "#fixtures/tar-writer.ts";

/** Objects that all have their right names, and should harm nobody who reads them. */

const folder: FileMetadata = { uid: 0, gid: 0, mode: 0o040755, xattrs: [] };

export function rubbishCommit(): Entry[] {
  return [object("commit", Buffer.from("this is no GVariant"))];
}

/** No writer of ours makes such a name: it is put there afterwards, in the place of one as long. */
export function escapingName(): Entry[] {
  const objects = new Objects();
  const empty = objects.directory([]);
  const bytes = serializeDirtree({ files: [], directories: [{ name: byteStringOfText("aa"), ...empty }] });
  bytes.write("..", bytes.indexOf("aa"), "latin1");
  return objects.commit({ ...empty, tree: objects.add("dirtree", bytes) });
}

/** 2^40 names in 41 objects. */
export function bomb(): Entry[] {
  const objects = new Objects();
  let below = objects.directory([]);
  for (let i = 0; i < 40; i++) below = objects.directory(["a", "b"].map((name) => ({ name, ...below })));
  return objects.commit(below);
}

export function tooDeep(): Entry[] {
  const objects = new Objects();
  let below = objects.directory([]);
  for (let i = 0; i < 5000; i++) below = objects.directory([{ name: "d", ...below }]);
  return objects.commit(below);
}

interface Directory {
  readonly tree: Checksum;
  readonly metadata: Checksum;
}

class Objects {
  readonly #entries = new Map<Checksum, Entry>();

  directory(children: readonly ({ name: string } & Directory)[]): Directory {
    const directories: Dirtree["directories"] = children.map((child) => ({
      ...child,
      name: child.name as ByteString,
    }));
    const tree = this.add("dirtree", serializeDirtree({ files: [], directories }));
    return { tree, metadata: this.add("dirmeta", serializeDirmeta(folder)) };
  }

  add(type: string, bytes: Buffer): Checksum {
    const checksum = checksumOf(bytes);
    this.#entries.set(checksum, object(type, bytes));
    return checksum;
  }

  commit(root: Directory): Entry[] {
    const { tree, metadata } = root;
    const bytes = { metadata: [], subject: "", body: "", timestamp: 0, tree, treeMetadata: metadata };
    this.add("commit", serializeCommit(bytes));
    return [...this.#entries.values()];
  }
}

function object(type: string, bytes: Buffer): Entry {
  const checksum = checksumOf(bytes);
  return file(`sysroot/ostree/repo/objects/${checksum.slice(0, 2)}/${checksum.slice(2)}.${type}`, bytes);
}
