import { constants, opendirSync, readSync } from "node:fs";
import { type ByteString, byteString, byteStringOfText, bytesOf, displayBytes } from "#base/bytes.ts";
import { openFile } from "#linux/descriptor.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { getXattr } from "#linux/xattr.ts";

/** A file of an image whose content is in an object. */
export interface DataFile {
  /** From the image's root: "/usr/bin/env". */
  readonly path: ByteString;
  /** From the objects' folder: "/xx/yyyy…"; undefined where the image does not tell. */
  readonly object: string | undefined;
}

/**
 * A file with an object, in a mount of the EROFS image alone. Undefined where there is none among the first
 * 100,000 names: an image of nothing but small files has no objects.
 */
export function findDataFile(erofsFd: number): DataFile | undefined {
  const folders = ["" as ByteString];
  let names = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const place = placeIn(erofsFd, folder);
    using directory = withSystemErrors(() => opendirSync(place, { encoding: "latin1" }));
    for (;;) {
      const entry = withSystemErrors(() => directory.readSync());
      if (entry === null) break;
      if ((names += 1) > mostNames) return undefined;
      const path = `${folder}/${entry.name}` as ByteString;
      if (entry.isDirectory() && path.length < longestPath) folders.push(path);
      const found = entry.isFile() ? dataFile(erofsFd, path) : undefined;
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Reads the first bytes of a file in a mounted tree. Throws SystemError. */
export function readFirstBytes(treeFd: number, path: ByteString): void {
  using file = openFile(placeIn(treeFd, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  withSystemErrors(() => readSync(file.fd, Buffer.alloc(1)));
}

const mostNames = 100_000;
/** PATH_MAX, less what goes before it and one more name. */
const longestPath = 3800;

function dataFile(erofsFd: number, path: ByteString): DataFile | undefined {
  using file = openFile(placeIn(erofsFd, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  if (getXattr(file, byteStringOfText("trusted.overlay.metacopy")) === undefined) return undefined;
  const redirect = getXattr(file, byteStringOfText("trusted.overlay.redirect"));
  return { path, object: redirect === undefined ? undefined : displayBytes(byteString(redirect)) };
}

function placeIn(treeFd: number, path: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${treeFd}`), bytesOf(path)]);
}
