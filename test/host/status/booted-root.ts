import { copyFileSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modernFolder } from "#fixtures/modern-chroot.ts";
import { runProgram } from "#fixtures/programs.ts";

/**
 * A deployment as the root of a running host, as far as libostree looks: the deployment's directory, with the sysroot,
 * /boot, /run and the kernel's command line where a booted host has them. Lies in `folder`, and goes with its mounts.
 */
export interface BootedRoot {
  readonly path: string;
  /** Runs the current release's `ostree` in it. libostree takes it for a booted host, and its shell for systemd. */
  readonly ostree: (...args: string[]) => Promise<string>;
}

/** `argument`: what the boot entry has as `ostree=`. */
export async function bootInto(folder: string, sysroot: string, argument: string): Promise<BootedRoot> {
  const path = join(folder, "root");
  mkdirSync(path);
  await runProgram("mount", ["--bind", realpathSync(join(sysroot, argument)), path]);
  for (const name of ["run", "proc"]) await runProgram("mount", ["-t", "tmpfs", "tmpfs", join(path, name)]);
  await runProgram("mount", ["--bind", sysroot, join(path, "sysroot")]);
  await runProgram("mount", ["--bind", join(sysroot, "boot"), join(path, "boot")]);
  writeFileSync(join(path, "proc/cmdline"), `BOOT_IMAGE=/vmlinuz root=/dev/vda ostree=${argument} quiet\n`);
  copyFileSync(join(path, "proc/cmdline"), join(path, "run/cmdline"));
  writeFileSync(join(path, "run/ostree-booted"), "");
  mkdirSync(join(path, "run/bin"));
  writeFileSync(join(path, "run/bin/systemctl"), "#!/bin/sh\n", { mode: 0o755 });
  const modern = await modernFolder();
  // A process tree of its own: libostree looks at the mounts of process 1.
  const script = `
    mount --bind "$2/usr" "$1/usr"
    mount --rbind /dev "$1/dev"
    mount -t proc proc "$1/proc"
    mount --bind "$1/run/cmdline" "$1/proc/cmdline"
    mount -t tmpfs tmpfs "$1/tmp"
    root=$1; shift 2
    exec chroot "$root" env PATH=/run/bin:/usr/bin:/usr/sbin OSTREE_SYSROOT_DEBUG=mutable-deployments ostree "$@"`;
  const unshare = ["--mount", "--pid", "--fork", "--kill-child", "--", "bash", "-euc", script, "ostree", path, modern];
  return { path, ostree: (...args) => runProgram("unshare", [...unshare, ...args]) };
}
