import fs from "node:fs";
import { type ByteString, byteStringOfText, bytesOf } from "#base/bytes.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import type { Xattr } from "#formats/xattrs.ts";
import { openBeneath } from "#linux/beneath.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs, type XattrTarget } from "#linux/xattr.ts";
import type { LayerRecord } from "./layers.ts";
import { openDiff } from "./open-diff.ts";

/** What the host put on a file, not the image: its own label, and the marks of its overlay mounts. */
const hostXattrs = ["security.selinux", "trusted.overlay."].map((name) => byteStringOfText(name));

/**
 * Owner, mode and xattrs of directories that a layer's tar implies without listing them: what podman gave
 * them is to be seen on their inodes only.
 */
export function impliedDirectories(layer: LayerRecord): (path: ByteString) => FileMetadata {
  return (path) => {
    try {
      using diff = openDiff(layer);
      using inode = openBeneath(diff.fd, path === "" ? "." : bytesOf(path), directoryFlags);
      return metadataOfInode({ fd: inode.fd }, fs.fstatSync(inode.fd));
    } catch (error) {
      // Replaced by something else later in the tar, so that it shows nowhere.
      if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV")) return { uid: 0, gid: 0, mode: 0o040755, xattrs: [] };
      throw error;
    }
  };
}

const directoryFlags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW;

export function metadataOfInode(inode: XattrTarget, stat: fs.Stats): FileMetadata {
  return { uid: stat.uid, gid: stat.gid, mode: stat.mode, xattrs: imageXattrs(inode) };
}

function imageXattrs(inode: XattrTarget): readonly Xattr[] {
  const xattrs: Xattr[] = [];
  for (const name of listXattrs(inode)) {
    if (hostXattrs.some((prefix) => name.startsWith(prefix))) continue;
    const value = getXattr(inode, name);
    if (value !== undefined) xattrs.push({ name, value });
  }
  return xattrs;
}
