import fs from "node:fs";
import { type ByteString, byteStringOfText, bytesOf } from "#base/bytes.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import type { Xattr } from "#formats/xattrs.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs } from "#linux/xattr.ts";
import type { LayerRecord } from "./layers.ts";

/** What the host put on a file, not the image: its own label, and the marks of its overlay mounts. */
const hostXattrs = ["security.selinux", "trusted.overlay."].map((name) => byteStringOfText(name));

/**
 * Owner, mode and xattrs of directories that a layer's tar implies without listing them: what podman gave
 * them is to be seen on their inodes only.
 */
export function impliedDirectories(layer: LayerRecord): (path: ByteString) => FileMetadata {
  return (path) => {
    const inode = Buffer.concat([Buffer.from(`${layer.diffPath}/`), bytesOf(path)]);
    try {
      return metadataOfInode(inode, fs.lstatSync(inode));
    } catch (error) {
      // Replaced by something else later in the tar, so that it shows nowhere.
      if (isErrno(error, "ENOENT", "ENOTDIR")) return { uid: 0, gid: 0, mode: 0o040755, xattrs: [] };
      throw error;
    }
  };
}

export function metadataOfInode(path: Buffer, stat: fs.Stats): FileMetadata {
  return { uid: stat.uid, gid: stat.gid, mode: stat.mode, xattrs: imageXattrs(path) };
}

function imageXattrs(path: Buffer): readonly Xattr[] {
  const xattrs: Xattr[] = [];
  for (const name of listXattrs({ path })) {
    if (hostXattrs.some((prefix) => name.startsWith(prefix))) continue;
    const value = getXattr({ path }, name);
    if (value !== undefined) xattrs.push({ name, value });
  }
  return xattrs;
}
