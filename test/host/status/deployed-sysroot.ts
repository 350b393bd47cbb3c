import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { addImage, addLayer, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file, symlink } from "#fixtures/tar-writer.ts";

/** A sysroot on an XFS of its own, deployed to by the real `ostree admin`. */
export interface DeployedSysroot {
  /** For files of the test, on the same file system. */
  readonly folder: string;
  readonly path: string;
  readonly repository: string;
  /** `ostree admin VERB …` on it; gives what it prints. */
  readonly admin: (verb: string, ...args: string[]) => Promise<string>;
  /** Pulls a version of the host image, made when it is asked for the first time. */
  readonly pull: (version: number) => Promise<{ digest: string; commit: string }>;
  /** Deploys a commit, with what an origin file of ostree-ext says, before those that are there. */
  readonly deploy: (commit: string, image: string, ...options: string[]) => Promise<void>;
}

export const appImage = "registry.example/app:1";

/** The `ostree` of Debian 12, or of a current release. */
export type OstreeRelease = "bookworm" | "modern";

export async function withSysroot(
  release: OstreeRelease,
  run: (sysroot: DeployedSysroot) => Promise<void>,
): Promise<void> {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const path = join(folder, "sysroot");
    mkdirSync(join(path, "boot"), { recursive: true });
    const layout = makeOciLayout(join(folder, "layout"));
    const pulled = new Map<number, Promise<PullReport>>();
    // Else libostree makes deployments immutable.
    const options = { env: { OSTREE_SYSROOT_DEBUG: "mutable-deployments" } };
    const ostree = (...args: string[]) =>
      release === "modern"
        ? runModern(["ostree", ...args], options)
        : runProgram("unshare", [...withoutPolicy, "ostree", ...args], options);
    const admin: DeployedSysroot["admin"] = (verb, ...args) => ostree("admin", verb, `--sysroot=${path}`, ...args);
    await ostree("admin", "init-fs", path);
    const repository = join(path, "ostree/repo");
    await ostree(`--repo=${repository}`, "config", "set", "sysroot.bootloader", "none");
    await admin("os-init", "default");
    await run({
      folder,
      path,
      repository,
      admin,
      async pull(version) {
        const report = pulled.get(version) ?? pullVersion(path, layout, version);
        pulled.set(version, report);
        const { digest, ostree: projected } = await report;
        return { digest, commit: projected?.commit ?? "" };
      },
      async deploy(commit, image, ...more) {
        const origin = join(folder, "origin");
        writeFileSync(origin, `[origin]\ncontainer-image-reference=${image}\n`);
        await admin("deploy", "--no-prune", "--retain", `--origin-file=${origin}`, ...more, commit);
        rmSync(origin);
      },
    });
  });
}

/** Where this machine has an SELinux policy, or the start of one, libostree would label by it what it writes. */
const withoutPolicy = [
  "--mount",
  "sh",
  "-euc",
  'if [ -d /etc/selinux ]; then mount -t tmpfs tmpfs /etc/selinux; fi; exec "$@"',
  "sh",
];

/** Versions 1 and 2 have one kernel. The image can be entered with the /usr of another system mounted in it. */
async function pullVersion(sysroot: string, layout: OciLayout, version: number): Promise<PullReport> {
  const layer = await addLayer(layout, {
    entries: [
      ...["usr", "etc", "boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"].map((name) => directory(name)),
      ...["bin", "lib", "lib64", "sbin"].map((name) => symlink(name, `usr/${name}`)),
      symlink("ostree", "sysroot/ostree"),
      file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
      file("usr/lib/os-release", `ID=test\nPRETTY_NAME="Test ${version}"\n`),
      file("usr/lib/modules/1/vmlinuz", version > 2 ? "another kernel" : "kernel"),
      file("usr/share/app.container", `[Unit]\nDescription=An app\n[Container]\nImage=${appImage}\n`),
      symlink("usr/lib/bootc/bound-images.d/app.container", "/usr/share/app.container"),
    ],
  });
  const tag = `v${version}`;
  const labels = { "containers.bootc": "1", "org.opencontainers.image.version": tag };
  addImage(layout, { tag, layers: [layer], labels, created: `2026-01-0${version}T00:00:00.5+01:00` });
  return await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:${tag}`]);
}
