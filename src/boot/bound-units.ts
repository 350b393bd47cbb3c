import fs from "node:fs";
import { type ByteString, byteString, bytesOf, joinBytes } from "#base/bytes.ts";
import { BoundImageError, boundImagesFolder, type BoundUnits, maxUnitSize } from "#image/bound-images.ts";
import { openInRoot } from "#linux/beneath.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";

/** The bound images of a deployment, whose root file system is `root`. */
export function boundUnitsOfDirectory(root: string): BoundUnits {
  return { entries: () => listEntries(root), read: (name) => readUnit(root, name) };
}

function listEntries(root: string): { name: ByteString; isSymlink: boolean }[] | undefined {
  using directory = openDirectory(root);
  using folder = openUnlessMissing(directory.fd, boundImagesFolder, fs.constants.O_DIRECTORY);
  if (folder === undefined) return undefined;
  const options = { withFileTypes: true, encoding: "buffer" } as const;
  const entries = withSystemErrors(() => fs.readdirSync(`/proc/self/fd/${folder.fd}`, options));
  return entries.map((entry) => ({ name: byteString(entry.name), isSymlink: entry.isSymbolicLink() }));
}

function readUnit(root: string, name: ByteString): Buffer {
  using directory = openDirectory(root);
  // Never waits for the other end of a FIFO.
  using unit = openUnlessMissing(directory.fd, joinBytes(boundImagesFolder, name), fs.constants.O_NONBLOCK);
  if (unit === undefined) throw new BoundImageError("dangling", name, "leads to where the image has nothing");
  const status = fs.fstatSync(unit.fd);
  if (!status.isFile()) throw new BoundImageError("not-a-file", name, "leads to something that is no regular file");
  if (status.size > maxUnitSize) throw new BoundImageError("broken-unit", name, "leads to a file that is too large");
  return withSystemErrors(() => fs.readFileSync(unit.fd));
}

/** A symlink to itself leads nowhere too. */
function openUnlessMissing(rootFd: number, path: ByteString, flags: number): Descriptor | undefined {
  try {
    return openInRoot(rootFd, bytesOf(path), fs.constants.O_RDONLY | flags);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}
