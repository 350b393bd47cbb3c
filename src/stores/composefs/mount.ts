import { existsSync } from "node:fs";
import { join } from "node:path";
import { displayBytes } from "#base/bytes.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import {
  attachMount,
  FileSystemContext,
  longestParameter,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
} from "#linux/mount-api.ts";
import { mountOf, unmount } from "#linux/mounts.ts";
import { isErrno } from "#linux/system-error.ts";
import { type DataFile, findDataFile, readFirstBytes } from "./data-probe.ts";
import { type Backing, damage, mountErofs } from "./erofs-mount.ts";

export interface ComposefsImage {
  /** An open image file; it may be closed after mounting. */
  readonly imageFd: number;
  /** For messages. */
  readonly name: string;
  /** In hex, where it was verified. The mount table shows it. */
  readonly digest: string | undefined;
  /** The folder of the objects, as an absolute path. */
  readonly objects: string;
  /** Let the kernel refuse every object that has not the fs-verity digest that the image names. */
  readonly requireVerity: boolean;
}

export interface MountedImage {
  readonly backing: Backing;
  /** A file that was read, to see that its object is found; undefined where the image has no objects. */
  readonly probed: string | undefined;
}

/**
 * Mounts an image with its objects at a directory, read-only; devices and set-user-ID bits have no effect.
 * The EROFS image below stays out of sight, and goes with the mount. Nothing is mounted where it fails.
 * Errors: "corrupt", also for an object that can't be read, "not-found" for the objects, "unsupported".
 */
export function mountComposefs(image: ComposefsImage, target: string): MountedImage {
  const { mount: erofs, backing } = mountErofs(image.imageFd, image.name);
  using lower = erofs;
  using objects = openObjects(image.objects);
  using tree = mountOverlay(image, lower.fd, objects.fd, target);
  // The kernel looks for an object only when its file is opened: a mount that succeeds proves nothing.
  const file = chooseDataFile(image, lower.fd);
  if (file !== undefined) probe(image, tree.fd, file);
  attachMount(tree.fd, target);
  return { backing, probed: file === undefined ? undefined : displayBytes(file.path) };
}

/**
 * Unmounts what `mountComposefs`, or another program for composefs images, mounted at a directory. Errors:
 * "not-found" where no such mount is, "busy".
 */
export function unmountComposefs(target: string): void {
  const entry = mountOf(target);
  if (entry?.type !== "overlay" || !/^composefs(?::|$)/.test(entry.source)) {
    throw notMounted(target, "no composefs image is mounted there");
  }
  try {
    unmount(target);
  } catch (error) {
    if (isErrno(error, "EINVAL")) throw notMounted(target, `it is within the mount at ${entry.mountPoint}`);
    if (!isErrno(error, "EBUSY")) throw error;
    throw new OneholdError("busy", `can't unmount ${target}: a program uses a file or folder in it`, {
      cause: error,
      subject: target,
      hint: "End the programs that use it, and unmount what is mounted in it.",
    });
  }
}

function openObjects(folder: string): Descriptor {
  try {
    return openDirectory(folder);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
    throw new OneholdError("not-found", `there is no folder of objects at ${folder}`, {
      cause: error,
      subject: folder,
      hint: "Name the composefs repository of the image with --repo.",
    });
  }
}

function mountOverlay(image: ComposefsImage, erofsFd: number, objectsFd: number, target: string): Descriptor {
  try {
    return createOverlay(image, erofsFd, objectsFd);
  } catch (error) {
    if (!isErrno(error, "EINVAL")) throw explain(error);
  }
  // Before Linux 6.15 overlayfs takes no layer that is attached nowhere: for a moment it is, where the tree will be.
  attachMount(erofsFd, target);
  try {
    return createOverlay(image, erofsFd, objectsFd);
  } catch (error) {
    throw explain(error);
  } finally {
    unmount(target, { detach: true });
  }
}

function createOverlay(image: ComposefsImage, erofsFd: number, objectsFd: number): Descriptor {
  using context = new FileSystemContext("overlay");
  context.setString("source", image.digest === undefined ? "composefs" : `composefs:${image.digest}`);
  // The build of a kernel may have these off.
  context.setString("metacopy", "on");
  context.setString("redirect_dir", "on");
  if (image.requireVerity) context.setString("verity", "require");
  context.setString("lowerdir+", `/proc/self/fd/${erofsFd}`);
  // The table of mounts shows what is given here: a path, where it is not too long for a parameter.
  const long = Buffer.byteLength(image.objects) > longestParameter;
  context.setString("datadir+", long ? `/proc/self/fd/${objectsFd}` : image.objects);
  return context.mount(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
}

function explain(error: unknown): unknown {
  if (isErrno(error, "EINVAL", "ENODEV")) {
    return new OneholdError("unsupported", `overlayfs of this kernel can't mount the image: ${messageOf(error)}`, {
      cause: error,
      hint: "Composefs images need Linux 6.7 or newer, with CONFIG_OVERLAY_FS.",
    });
  }
  return error;
}

function chooseDataFile({ name }: ComposefsImage, erofsFd: number): DataFile | undefined {
  try {
    return findDataFile(erofsFd);
  } catch (error) {
    if (!isErrno(error, ...damage)) throw error;
    throw new OneholdError("corrupt", `the kernel can't read the tree of image ${name}: ${messageOf(error)}`, {
      cause: error,
      subject: name,
      hint: "The image is damaged: make it again. It was not mounted; the kernel's log may say more.",
    });
  }
}

function probe({ name, objects, requireVerity }: ComposefsImage, treeFd: number, file: DataFile): void {
  try {
    readFirstBytes(treeFd, file.path);
  } catch (error) {
    if (!isErrno(error, "ENOENT", ...damage)) throw error;
    const path = displayBytes(file.path);
    const missing = file.object !== undefined && !existsSync(join(objects, file.object));
    const object = file.object === undefined ? "its object" : `its object ${file.object.slice(1)}`;
    const demand = requireVerity ? ", which must have fs-verity with the digest that the image names" : "";
    const why = missing ? `${object} is missing` : `the kernel refuses ${object}${demand}`;
    throw new OneholdError("corrupt", `the file ${path} of image ${name} can't be read: ${why} (in ${objects})`, {
      cause: error,
      subject: path,
      hint: "The image was not mounted. Pull it again to complete its objects; the kernel's log may say more.",
    });
  }
}

function notMounted(target: string, why: string): OneholdError {
  return new OneholdError("not-found", `can't unmount ${target}: ${why}`, {
    subject: target,
    hint: "Name the directory that was given to 'onehold internals mount'.",
  });
}
