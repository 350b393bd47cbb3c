import { readFileSync } from "node:fs";
import { O_PATH, openFile } from "./descriptor.ts";
import { fileSystemOf } from "./file-system.ts";
import { cPath, cSecondPath, displayPath, libc, type PathLike } from "./libc.ts";
import { SystemError, withSystemErrors } from "./system-error.ts";

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;

export interface MountOptions {
  /** "erofs"; without it for what needs none, such as a bind mount. */
  readonly type?: string;
  /** MS_… or-ed together. */
  readonly flags?: number;
  /** What mount(8) takes after -o and the kernel does not take as a flag: "lowerdir=/a:/b". */
  readonly data?: string;
}

/** mount(2): no loop devices are made, no helpers run, nothing of /etc/fstab is looked at. */
export function mount(source: PathLike, target: PathLike, options: MountOptions = {}): void {
  const c = libc();
  const { type, flags = 0, data } = options;
  const result = c.mount(cPath(source), cSecondPath(target), cText(type), flags, cText(data));
  if (result !== 0) throw new SystemError("mount", c.errno(), displayPath(target));
}

/** Shows a directory, or a file, in a second place, without what is mounted below it. */
export function bindMount(source: PathLike, target: PathLike, options: { readonly readOnly?: boolean } = {}): void {
  mount(source, target, { flags: MS_BIND });
  if (options.readOnly !== true) return;
  try {
    // A bind mount takes its flags only when it is changed afterwards, and then it loses those not named.
    mount("none", target, { flags: MS_REMOUNT | MS_BIND | MS_RDONLY | fileSystemOf(target).mountFlags });
  } catch (error) {
    unmount(target, { detach: true });
    throw error;
  }
}

/** An empty file system in memory, for root alone. */
export function mountTmpfs(target: PathLike): void {
  mount("tmpfs", target, { type: "tmpfs", flags: MS_NOSUID | MS_NODEV, data: "mode=0700" });
}

export interface UnmountOptions {
  /** Take it out of the tree at once; what still uses it keeps it until it is done. */
  readonly detach?: boolean;
}

/** Unmounts what was mounted last on `target`, which is not followed where it is a symlink. */
export function unmount(target: PathLike, options: UnmountOptions = {}): void {
  const c = libc();
  const flags = UMOUNT_NOFOLLOW | (options.detach === true ? MNT_DETACH : 0);
  if (c.umount2(cPath(target), flags) !== 0) throw new SystemError("umount2", c.errno(), displayPath(target));
}

/** One line of /proc/self/mountinfo: see proc_pid_mountinfo(5). Bytes of paths that are not UTF-8 are lost. */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  readonly major: number;
  readonly minor: number;
  /** The directory of the file system that is seen at the mount point: "/", and more for a bind mount. */
  readonly root: string;
  readonly mountPoint: string;
  /** Of this mount: "rw", "nosuid", … */
  readonly options: readonly string[];
  /** "shared:1", "master:2"; empty for a private mount. */
  readonly propagation: readonly string[];
  readonly type: string;
  /** The device, or what was given in its place. */
  readonly source: string;
  /** Of the file system, whichever mount shows it. */
  readonly superOptions: readonly string[];
}

/** The mount that shows a path: where it is a mount point, the one mounted on it last. Undefined only for a mount that is hidden. */
export function mountOf(target: PathLike): MountEntry | undefined {
  using place = openFile(target, O_PATH);
  const info = withSystemErrors(() => readFileSync(`/proc/self/fdinfo/${place.fd}`, "latin1"));
  const id = Number(/^mnt_id:\s*(\d+)$/m.exec(info)?.[1]);
  return mountTable().find((entry) => entry.id === id);
}

/** Every mount that this process sees, in the order of mounting. */
export function mountTable(): MountEntry[] {
  return parseMountTable(withSystemErrors(() => readFileSync("/proc/self/mountinfo")));
}

/** Lines that are not of the format, as an unknown kernel might write, are left out. */
export function parseMountTable(text: Buffer): MountEntry[] {
  return text
    .toString("latin1")
    .split("\n")
    .map(parseLine)
    .filter((entry) => entry !== undefined);
}

function parseLine(line: string): MountEntry | undefined {
  const fields = line.split(" ");
  // A variable number of fields, and a dash, precede the last three.
  const dash = fields.indexOf("-", 6);
  const [id, parentId, device = "", root = "", mountPoint = "", options = ""] = fields;
  const [type, source = "", superOptions = ""] = fields.slice(dash + 1);
  const [major, minor] = device.split(":");
  if (dash < 0 || type === undefined) return undefined;
  return {
    id: Number(id),
    parentId: Number(parentId),
    major: Number(major),
    minor: Number(minor),
    root: unescape(root),
    mountPoint: unescape(mountPoint),
    options: options.split(","),
    propagation: fields.slice(6, dash),
    type: unescape(type),
    source: unescape(source),
    superOptions: unescape(superOptions).split(","),
  };
}

/** The kernel writes blanks, line ends and backslashes as \ooo. */
function unescape(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(bytes, "latin1").toString("utf8");
}

const MS_REMOUNT = 0x20;
const MS_BIND = 0x1000;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

function cText(text: string | undefined): Buffer | null {
  return text === undefined ? null : Buffer.from(`${text}\0`);
}
