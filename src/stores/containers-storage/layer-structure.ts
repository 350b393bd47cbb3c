import { constants, fstatSync, readlinkSync, type Stats } from "node:fs";
import { type ByteString, byteString, byteStringOfText, bytesOf, displayBytes, joinBytes } from "#base/bytes.ts";
import { openBeneath } from "#linux/beneath.ts";
import { getXattr } from "#linux/xattr.ts";
import type { TarEntry } from "#formats/tar.ts";
import { baseName, entryPath, parentPath } from "./entry-path.ts";
import type { LayerContents } from "./layer-contents.ts";

const whiteoutPrefix = ".wh.";
/** AUFS's own files: podman unpacks none of them but the mark of an opaque directory. */
const aufsPrefix = ".wh..wh.";
const opaqueName = ".wh..wh..opq";
/** Written by root, and in a user namespace. */
const opaqueXattrs = ["trusted.overlay.opaque", "user.overlay.opaque"].map(byteStringOfText);

/**
 * What is wrong with a member of the tar that has no content, which the tar's digest therefore does not
 * prove to be in the diff: a power cut can lose a link or a folder. Undefined where it is as unpacked.
 * Owners, modes and xattrs are not compared: force_mask, user namespaces and ACLs change them rightly.
 */
export function structureProblem(contents: LayerContents, entry: TarEntry): string | undefined {
  const path = entryPath(entry.name);
  const name = baseName(path);
  if (name.startsWith(whiteoutPrefix)) return whiteoutProblem(contents, path, name);
  const stats = statEntry(contents, path);
  switch (entry.type) {
    case "directory":
      return expect(stats, "folder", stats?.isDirectory());
    case "file":
      return expect(stats, "file", stats?.isFile()) ?? (stats?.size === 0 ? undefined : "it should be empty");
    case "symlink":
      return expect(stats, "link", stats?.isSymbolicLink()) ?? targetProblem(contents, path, entry.linkName);
    case "hardlink":
      return hardlinkProblem(contents, stats, entry.linkName);
    case "fifo":
      return expect(stats, "FIFO", stats?.isFIFO());
    case "char":
    case "block":
      // Podman in a user namespace cannot make devices and leaves them out.
      return stats === undefined
        ? undefined
        : expect(stats, "device", stats.isCharacterDevice() || stats.isBlockDevice());
    case "other":
      return undefined;
  }
}

function expect(stats: Stats | undefined, what: string, right: boolean | undefined): string | undefined {
  if (stats === undefined) return `the ${what} is missing`;
  return right === true ? undefined : `it is not a ${what}`;
}

function statEntry(contents: LayerContents, path: ByteString): Stats | undefined {
  using entry = contents.openEntry(path);
  return entry === undefined ? undefined : fstatSync(entry.fd);
}

function targetProblem(contents: LayerContents, path: ByteString, expected: ByteString): string | undefined {
  using parent = contents.openEntry(parentPath(path));
  if (parent === undefined) return "its folder is missing";
  const link = Buffer.concat([Buffer.from(`/proc/self/fd/${parent.fd}/`), bytesOf(baseName(path))]);
  const target = byteString(readlinkSync(link, { encoding: "buffer" }));
  return target === expected ? undefined : `it leads to ${displayBytes(target)} and not to ${displayBytes(expected)}`;
}

function hardlinkProblem(contents: LayerContents, stats: Stats | undefined, linkName: ByteString): string | undefined {
  if (stats === undefined) return "the hard link is missing";
  const target = statEntry(contents, entryPath(linkName));
  const same = target !== undefined && target.ino === stats.ino && target.dev === stats.dev;
  return same ? undefined : `it is no longer the same file as ${displayBytes(linkName)}`;
}

function whiteoutProblem(contents: LayerContents, path: ByteString, name: ByteString): string | undefined {
  const folder = parentPath(path);
  if (name === opaqueName) return isOpaque(contents, folder, path) ? undefined : "its folder is not marked opaque";
  if (name.startsWith(aufsPrefix)) return undefined;
  const hidden = joinBytes(folder, name.slice(whiteoutPrefix.length) as ByteString);
  // fuse-overlayfs keeps whiteouts under the names that they have in the tar.
  const there = statEntry(contents, hidden) ?? statEntry(contents, path);
  return there === undefined ? "the whiteout is missing" : undefined;
}

function isOpaque(contents: LayerContents, folder: ByteString, mark: ByteString): boolean {
  if (statEntry(contents, mark) !== undefined) return true;
  if (statEntry(contents, folder)?.isDirectory() !== true) return false;
  using directory = openBeneath(
    contents.root.fd,
    folder === "" ? "." : bytesOf(folder),
    constants.O_RDONLY | constants.O_DIRECTORY,
  );
  return opaqueXattrs.some((xattr) => getXattr({ fd: directory.fd }, xattr) !== undefined);
}
