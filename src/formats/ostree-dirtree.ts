import { type ByteString, byteString, displayBytes, isUtf8 } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { array, arrayElements, offsetWidth, textBytes, tuple, tupleMembers, writeOffset } from "./gvariant.ts";
import { type Checksum, demandObjectSize, readChecksum, writeChecksum } from "./ostree-objects.ts";

/** The names of a directory; its own metadata is a dirmeta. As parsed, both lists ascend by the bytes of the name. */
export interface Dirtree {
  readonly files: readonly FileEntry[];
  readonly directories: readonly DirectoryEntry[];
}

export interface FileEntry {
  readonly name: ByteString;
  readonly checksum: Checksum;
}

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly tree: Checksum;
  readonly metadata: Checksum;
}

/**
 * Sorts both lists by bytes, for libostree searches them by halves.
 * @throws OneholdError "not-utf8" for a name that ostree can't hold, "corrupt" for one that no directory can
 *   have (empty, `.`, `..`, with a slash) or that comes twice
 */
export function serializeDirtree(tree: Dirtree): Buffer {
  const files = tree.files.toSorted(byName);
  const directories = tree.directories.toSorted(byName);
  demandNames({ files, directories }, "a directory", "not-utf8");
  return tuple([
    { bytes: array(files.map(serializeFile), 1), align: 1, fixed: false },
    { bytes: array(directories.map(serializeDirectory), 1), align: 1, fixed: false },
  ]);
}

/** @throws OneholdError "corrupt"; also where names are not sorted, for then libostree itself can't find them */
export function parseDirtree(bytes: Buffer): Dirtree {
  const what = "an ostree dirtree";
  demandObjectSize(bytes, what);
  const [fileArray = none, directoryArray = none] = tupleMembers(bytes, pair, what);
  const files = arrayElements(fileArray, 1, what).map((entry): FileEntry => {
    const [name = none, checksum = none] = tupleMembers(entry, pair, what);
    return { name: byteString(textBytes(name, what)), checksum: readChecksum(checksum, what) };
  });
  const directories = arrayElements(directoryArray, 1, what).map((entry): DirectoryEntry => {
    const [name = none, tree = none, metadata = none] = tupleMembers(entry, triple, what);
    return {
      name: byteString(textBytes(name, what)),
      tree: readChecksum(tree, what),
      metadata: readChecksum(metadata, what),
    };
  });
  demandNames({ files, directories }, what, "corrupt");
  return { files, directories };
}

const none = Buffer.alloc(0);
const pair = [{ align: 1 }, { align: 1 }] as const;
const triple = [{ align: 1 }, { align: 1 }, { align: 1 }] as const;
const checksumLength = 32;

function byName(a: { readonly name: ByteString }, b: { readonly name: ByteString }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function serializeFile({ name, checksum }: FileEntry): Buffer {
  const nameEnd = name.length + 1;
  const bodyLength = nameEnd + checksumLength;
  const width = offsetWidth(bodyLength, 1);
  const entry = Buffer.allocUnsafe(bodyLength + width);
  writeName(entry, name);
  writeChecksum(entry, checksum, nameEnd);
  writeOffset(entry, nameEnd, bodyLength, width);
  return entry;
}

function serializeDirectory({ name, tree, metadata }: DirectoryEntry): Buffer {
  const nameEnd = name.length + 1;
  const treeEnd = nameEnd + checksumLength;
  const bodyLength = treeEnd + checksumLength;
  const width = offsetWidth(bodyLength, 2);
  const entry = Buffer.allocUnsafe(bodyLength + 2 * width);
  writeName(entry, name);
  writeChecksum(entry, tree, nameEnd);
  writeChecksum(entry, metadata, treeEnd);
  writeOffset(entry, nameEnd, writeOffset(entry, treeEnd, bodyLength, width), width);
  return entry;
}

function writeName(target: Buffer, name: ByteString): void {
  target.write(name, 0, "latin1");
  target[name.length] = 0;
}

type Code = "not-utf8" | "corrupt";

/** Each list strictly ascending, no name in both, and all of them names that ostree can hold. */
function demandNames({ files, directories }: Dirtree, what: string, notUtf8: Code): void {
  demandAscending(files, what, notUtf8);
  demandAscending(directories, what, notUtf8);
  const fileNames = directories.length === 0 ? undefined : new Set(files.map(({ name }) => name));
  for (const { name } of directories) {
    if (fileNames?.has(name)) throw badName(what, name, "both as a file and as a directory");
  }
}

function demandAscending(entries: readonly { readonly name: ByteString }[], what: string, notUtf8: Code): void {
  for (const [index, { name }] of entries.entries()) {
    if (/^\.{0,2}$|[/\0]/.test(name)) throw badName(what, name, "which no file can have");
    if (!isUtf8(name)) {
      const message = `${what} has the name "${displayBytes(name)}", which is not UTF-8`;
      throw new OneholdError(notUtf8, message, { hint: "ostree can't hold such names: rename the file in the image." });
    }
    const before = entries[index - 1];
    if (before !== undefined && before.name >= name) {
      throw badName(what, name, before.name === name ? "twice" : `after "${displayBytes(before.name)}": not sorted`);
    }
  }
}

function badName(what: string, name: ByteString, why: string): OneholdError {
  return new OneholdError("corrupt", `${what} has the name "${displayBytes(name)}" ${why}`);
}
