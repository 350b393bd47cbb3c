import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { fileSystemUuid } from "#linux/file-system-uuid.ts";
import { type MountEntry, mountOf } from "#linux/mounts.ts";
import type { Sysroot } from "../sysroot.ts";

/** The file systems that a host is installed to. */
export interface InstallTarget {
  /** What tells the kernel where its root is, in the order in which bootc writes it. */
  readonly rootArguments: readonly string[];
  /** A line for the host's /etc/fstab, where /boot is a file system of its own. */
  readonly bootMount: string | undefined;
}

/** @throws OneholdError "unsupported" for a directory that is not the top of a file system on a block device */
export async function inspectTarget(root: string, signal: AbortSignal): Promise<InstallTarget> {
  const mount = topOf(root);
  const subvolume = mount.root === "/" ? [] : [`rootflags=subvol=${mount.root.replace(/^\//, "")}`];
  if (subvolume.length > 0 && mount.type !== "btrfs") throw notTheTop(root);
  const rootUuid = await fileSystemUuid(mount.source, signal);
  const boot = path.join(root, "boot");
  const bootMount = fs.existsSync(boot) ? mountOf(boot) : undefined;
  const own = bootMount !== undefined && bootMount.id !== mount.id;
  const bootUuid = own ? await fileSystemUuid(bootMount.source, signal) : undefined;
  return {
    rootArguments: [
      `root=UUID=${rootUuid}`,
      ...subvolume,
      "rw",
      ...(bootUuid === undefined ? [] : [`boot=UUID=${bootUuid}`]),
    ],
    bootMount: bootUuid === undefined ? undefined : `UUID=${bootUuid} /boot ${bootMount?.type ?? "auto"} ro 0 2`,
  };
}

function topOf(root: string): MountEntry {
  const mount = mountOf(root);
  if (mount?.mountPoint !== fs.realpathSync(root)) throw notTheTop(root);
  if (mount.source.startsWith("/dev/")) return mount;
  throw new OneholdError(
    "unsupported",
    `${root} is on ${mount.source} (${mount.type}), which no kernel can boot from`,
    {
      subject: root,
      hint: "Mount the file system that shall hold the host, as `mount /dev/vda2 /mnt` does, and name the place.",
    },
  );
}

function notTheTop(root: string): OneholdError {
  return new OneholdError("unsupported", `${root} is not the top of a file system: the kernel could not find it`, {
    subject: root,
    hint: "Mount the file system that shall hold the host, as `mount /dev/vda2 /mnt` does, and name the place.",
  });
}

/**
 * Refuses a directory that holds anything that this install has not put there: besides `lost+found` only a `boot` with
 * nothing in it but `lost+found` and `efi`. `begun`: an install to it was killed or has failed.
 */
export function demandEmpty({ path: root, state }: Sysroot, begun: boolean): void {
  if (begun) return;
  const inRoot = fs.readdirSync(root).filter((name) => name !== "lost+found" && name !== "boot");
  // What another verb makes before it looks for work: a lock and empty folders.
  const others = inRoot.filter((name) => name !== "onehold" || !isUnused(state));
  const boot = path.join(root, "boot");
  const inBoot = fs.existsSync(boot) ? fs.readdirSync(boot) : [];
  const found = [
    ...others,
    ...inBoot.filter((name) => name !== "lost+found" && name !== "efi").map((name) => `boot/${name}`),
  ];
  if (found.length === 0) return;
  const installed = fs.existsSync(path.join(root, "ostree/deploy"));
  throw new OneholdError(
    "unsupported",
    installed ? `${root} has a host already` : `${root} is not empty: it has ${list(found)}`,
    {
      subject: root,
      hint: installed
        ? `Change it with \`onehold --sysroot ${root}\` and a verb such as upgrade, or make a new file system there.`
        : "Install to a new file system.",
    },
  );
}

function isUnused({ images, pins }: Sysroot["state"]): boolean {
  return [images, pins].every((folder) => !fs.existsSync(folder) || fs.readdirSync(folder).length === 0);
}

function list(names: readonly string[]): string {
  const shown = names.toSorted().slice(0, 5).join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
