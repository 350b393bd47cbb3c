import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { withFileSystem } from "#fixtures/file-systems.ts";
import type { Layer } from "#fixtures/layer-blob.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { addImage, addLayer, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, hardlink, opaque, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { debianPolicy } from "./debian-policy.ts";

const labels = { "containers.bootc": "1" };
export const own = "system_u:object_r:own_t:s0\0";
/** More than what stores keep inline. */
export const long = (text: string) => `${text}\n`.repeat(200);

/** A system without a policy. */
export const system: readonly Entry[] = [
  ...["etc", "usr", "usr/bin", "usr/lib", "usr/sbin", "usr/share", "usr/share/doc", "proc", "run"].map((name) =>
    directory(name),
  ),
  file("etc/passwd", long("root"), { xattrs: { "user.z": "z" } }),
  file("etc/shadow", long("shadow"), { mode: 0o600, gid: 42 }),
  file("etc/hostname", ""),
  file("usr/bin/bash", long("bash"), { mode: 0o755, xattrs: { "security.selinux": own } }),
  file("usr/bin/su", long("su"), { mode: 0o4755 }),
  file("usr/bin/gone", long("gone")),
  file("usr/bin/twins", long("twins")),
  hardlink("usr/share/doc/twins", "usr/bin/twins"),
  file("usr/bin/changes", long("changes")),
  file("usr/bin/empty", ""),
  symlink("usr/bin/sh", "bash"),
  file("usr/sbin/sshd", long("sshd"), { mode: 0o755 }),
  file("usr/lib/libc.so.6", long("libc")),
  directory("usr/share/old"),
  file("usr/share/old/file", long("old")),
  directory("var"),
  directory("var/tmp"),
  file("var/tmp/labelled", long("labelled"), { xattrs: { "security.selinux": own } }),
  file("var/tmp/not-labelled", long("not labelled")),
  directory("var/log"),
  file("var/log/x", long("log"), { uid: 7 }),
];

export const changes: readonly Entry[] = [
  directory("usr"),
  directory("usr/bin", { mode: 0o711 }),
  whiteout("usr/bin/gone"),
  file("usr/bin/new", long("new"), { mode: 0o755 }),
  directory("usr/share"),
  directory("usr/share/old"),
  opaque("usr/share/old"),
  file("usr/share/old/new", long("new")),
];

/** What a folder holds, for a layer. */
export function entriesIn(folder: string, name: string): Entry[] {
  const all: Entry[] = [directory(name)];
  for (const entry of readdirSync(join(folder, name), { withFileTypes: true })) {
    const path = `${name}/${entry.name}`;
    if (entry.isDirectory()) all.push(...entriesIn(folder, path));
    else if (entry.isSymbolicLink()) all.push(symlink(path, readlinkSync(join(folder, path))));
    else all.push(file(path, readFileSync(join(folder, path))));
  }
  return all;
}

export const contextFiles = "etc/selinux/default/contexts/files";

/** An entry, after the directories that it is in. */
export function withParents(entry: Entry): Entry[] {
  const names = entry.name.toString().split("/");
  return [...names.slice(1).map((_, i) => directory(names.slice(0, i + 1).join("/"))), entry];
}

export const policyLayer = async (layout: OciLayout) =>
  addLayer(layout, { entries: entriesIn(await debianPolicy(), "etc") });

export interface Place {
  readonly folder: string;
  readonly layout: OciLayout;
  readonly sysroot: string;
  readonly repository: string;
  readonly add: (tag: string, ...layers: readonly Layer[]) => void;
  readonly pull: (tag: string, ...options: string[]) => Promise<PullReport & { ostree: { commit: string } }>;
}

interface PlaceOptions {
  readonly kind?: "xfs" | "ext4";
  readonly backend?: "ostree" | "both";
}

export async function withPlace(run: (place: Place) => Promise<void>, options: PlaceOptions = {}): Promise<void> {
  const { kind = "xfs", backend = "ostree" } = options;
  await withFileSystem(kind, { sizeMiB: 500 }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    await onehold(sysroot, ["init", "--backend", backend]);
    const layout = makeOciLayout(join(folder, "layout"));
    const repository = join(sysroot, "ostree/repo");
    await run({
      folder,
      layout,
      sysroot,
      repository,
      add: (tag, ...layers) => addImage(layout, { tag, layers, labels }),
      pull: async (tag, ...more) => {
        const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:${tag}`, ...more]);
        assert.ok(report.ostree);
        return { ...report, ostree: report.ostree };
      },
    });
    await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
    await runModern(["ostree", `--repo=${repository}`, "fsck"]);
  });
}

/** What ostree says of every path of a commit: metadata, checksums, xattrs. */
export async function listed(repository: string, commit: string): Promise<Map<string, string>> {
  const printed = await runModern(["ostree", "ls", `--repo=${repository}`, "-R", "-X", "-C", commit]);
  return new Map(
    printed
      .trimEnd()
      .split("\n")
      .map((line) => [/ \} (\/.*?)(?: -> .*)?$/.exec(line)?.[1] ?? line, line]),
  );
}

export function labelIn(line: string | undefined): string | undefined {
  return /\(b'security\.selinux', b'([^']*)'\)/.exec(line ?? "")?.[1];
}

/** The image's commit is what ostree makes of its tree, unlabelled (but for what the policy has no label for), by its own policy. */
export async function assertLabelledAsOstreeDoes(
  { folder, repository }: Place,
  commit: string,
): Promise<Map<string, string>> {
  const root = join(folder, `tree-${commit.slice(0, 8)}`);
  const repo = join(folder, `repo-${commit.slice(0, 8)}`);
  await runProgram("ostree", [`--repo=${repository}`, "checkout", "--force-copy", commit, root]);
  const strip = `find . ! -path './var/tmp/*' -exec setfattr -h -x security.selinux {} + 2>/dev/null || true`;
  await runProgram("sh", ["-c", strip], { cwd: root });
  await runModern(["ostree", "init", `--repo=${repo}`, "--mode=bare"]);
  await runModern([
    "ostree",
    "commit",
    `--repo=${repo}`,
    "--branch=own",
    "--no-bindings",
    `--selinux-policy=${root}`,
    `--tree=dir=${root}`,
  ]);
  const ours = await listed(repository, commit);
  assert.deepEqual(Object.fromEntries(ours), Object.fromEntries(await listed(repo, "own")));
  return ours;
}

export async function blobCommits(repository: string, layers: readonly Layer[]): Promise<string[]> {
  const commits: string[] = [];
  for (const { digest } of layers) {
    const ref = `ostree/container/blob/sha256_3A_${digest.slice("sha256:".length)}`;
    commits.push((await runProgram("ostree", [`--repo=${repository}`, "rev-parse", ref])).trim());
  }
  return commits;
}

export const filesRead = ({ ostree }: PullReport) =>
  Object.values(ostree?.account ?? {}).reduce((sum, { files }) => sum + files, 0);

export const filesIn = (...layers: readonly (readonly Entry[])[]) =>
  layers
    .flat()
    .filter(
      ({ flag, content }) =>
        flag === "0" && content !== undefined && content !== "" && (!Buffer.isBuffer(content) || content.length > 0),
    ).length;

export async function assertShared(repository: string): Promise<void> {
  const script = `find "$1" -name '*.file' -type f -size +0 -exec filefrag -v {} +`;
  const printed = await runProgram("sh", ["-c", script, "sh", join(repository, "objects")]);
  const extents = printed.split("\n").filter((line) => /^\s*\d+:/.test(line));
  assert.ok(extents.length > 30, printed);
  assert.deepEqual(
    extents.filter((line) => !line.includes("shared")),
    [],
  );
}

/** As the kernel shows it. */
export async function labelInErofs(image: string, folder: string, path: string): Promise<string> {
  const script = `mkdir -p "$2"; mount -o loop,ro -t erofs "$1" "$2"; trap 'umount "$2"' EXIT
getfattr -h --only-values --absolute-names -n security.selinux "$2/$3"`;
  return runProgram("sh", ["-euc", script, "sh", image, folder, path]);
}
