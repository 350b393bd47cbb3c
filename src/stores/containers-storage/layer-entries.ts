import fs from "node:fs";
import { type ByteString, byteString, byteStringOfText, bytesOf, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { TarEntry } from "#formats/tar.ts";
import { getXattr } from "#linux/xattr.ts";
import { metadataOfInode } from "./inode-metadata.ts";
import { hasTarSplit, layerForm, type LayerRecord } from "./layers.ts";
import { openDiff } from "./open-diff.ts";
import { layerTarEntries } from "./tar-split-file.ts";

/**
 * What a layer's tar said, in its order: from tar-split, whose headers are the authority on owner, mode and
 * xattrs. A layer that was not made from a tar (committed here, say) is described by its inodes.
 */
export async function* layerEntries(layer: LayerRecord): AsyncGenerator<readonly TarEntry[], void, undefined> {
  if (layerForm(layer) === "composefs") {
    throw new OneholdError("unsupported", `layer ${layer.id} is stored by content (use_composefs), not as files`, {
      subject: layer.diffPath,
      hint: "Turn use_composefs off in storage.conf, remove the image and pull it again.",
    });
  }
  if (hasTarSplit(layer)) {
    for await (const batch of layerTarEntries(layer)) yield batch.map(({ entry }) => entry);
  } else {
    yield* inodeEntries(layer);
  }
}

const slash = Buffer.from("/");
const whiteoutPrefix = byteStringOfText(".wh.");
const opaqueMarker = byteStringOfText(".wh..wh..opq");
const opaqueXattr = byteStringOfText("trusted.overlay.opaque");

function* inodeEntries(layer: LayerRecord): Generator<readonly TarEntry[], void, undefined> {
  const firstNames = new Map<string, ByteString>();
  // Held open, so that it stays the store's own folder. Below it only what is a directory itself is gone into.
  using diff = openDiff(layer);
  const root = Buffer.from(`/proc/self/fd/${diff.fd}/.`);
  yield [entryOf(root, "" as ByteString, fs.lstatSync(root))];
  const folders: ByteString[] = ["" as ByteString];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const entries: TarEntry[] = [];
    const path = inLayer(root, folder);
    if (getXattr({ path }, opaqueXattr)?.toString() === "y") entries.push(mark(joinBytes(folder, opaqueMarker)));
    for (const child of fs.readdirSync(path, { encoding: "buffer" })) {
      const name = joinBytes(folder, byteString(child));
      const inode = inLayer(root, name);
      const stat = fs.lstatSync(inode);
      if (stat.isCharacterDevice() && stat.rdev === 0) {
        entries.push(mark(joinBytes(folder, (whiteoutPrefix + byteString(child)) as ByteString)));
        continue;
      }
      const key = `${stat.dev}:${stat.ino}`;
      const first = stat.isDirectory() || stat.nlink === 1 ? undefined : firstNames.get(key);
      if (first === undefined) entries.push(entryOf(inode, name, stat));
      else entries.push({ ...entryOf(inode, name, stat), type: "hardlink", size: 0, linkName: first });
      if (stat.nlink > 1 && !stat.isDirectory()) firstNames.set(key, first ?? name);
      if (stat.isDirectory()) folders.push(name);
    }
    yield entries;
  }
}

function inLayer(root: Buffer, path: ByteString): Buffer {
  return Buffer.concat([root, slash, bytesOf(path)]);
}

/** A whiteout has no metadata that counts. */
function mark(name: ByteString): TarEntry {
  return {
    name,
    type: "file",
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: { seconds: 0, nanoseconds: 0 },
    linkName: "" as ByteString,
    devMajor: 0,
    devMinor: 0,
    xattrs: [],
    sparse: false,
  };
}

function entryOf(inode: Buffer, name: ByteString, stat: fs.Stats): TarEntry {
  const { uid, gid, xattrs } = metadataOfInode({ path: inode }, stat);
  const type = typeOf(stat);
  return {
    ...mark(name),
    type,
    mode: stat.mode & 0o7777,
    uid,
    gid,
    xattrs,
    size: type === "file" ? stat.size : 0,
    linkName: type === "symlink" ? byteString(fs.readlinkSync(inode, { encoding: "buffer" })) : ("" as ByteString),
  };
}

function typeOf(stat: fs.Stats): TarEntry["type"] {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isCharacterDevice()) return "char";
  if (stat.isBlockDevice()) return "block";
  return stat.isFIFO() ? "fifo" : "other";
}
