/**
 * What sharing a real host image with ostree costs, in time, blocks and memory, against what it would cost
 * without Onehold. Each figure is a ratio of two measurements in one run, taken in turns.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { pullWithPodman } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { endOf, runProgram } from "#fixtures/programs.ts";
import { makeRegistry, type Registry } from "#fixtures/registry.ts";
import { type Figure, median } from "./figures.ts";
import { measureTarWay, timed } from "./tar-way.ts";

const program = join(import.meta.dirname, "../bin/onehold");
const sizeMiB = 8192;
const rounds = 3;

/** Bytes of metadata allowed for each file, over podman's pull alone. */
const allowance = { xfs: 2048, btrfs: 5120 } as const;

export async function measureProjection(): Promise<Figure[]> {
  const { layout } = await debianImages();
  await using registry = await makeRegistry({ layouts: [layout] });
  return [
    ...(await measureBlocks(registry, "btrfs")),
    ...(await measureBlocks(registry, "xfs")),
    ...(await measureTime(registry)),
  ];
}

/** What a pull into an empty sysroot takes, over what podman's pull alone takes. */
async function measureBlocks(registry: Registry, kind: "xfs" | "btrfs"): Promise<Figure[]> {
  const name = `${registry.address}/os:1`;
  const alone = await withFileSystem(kind, { sizeMiB }, async (folder) => {
    const before = await usedBytes(folder);
    await pullWithPodman(join(folder, "store"), name);
    return (await usedBytes(folder)) - before;
  });
  return [
    ...(await withFileSystem(kind, { sizeMiB }, (sysroot) => measureOstree(registry, kind, sysroot, alone))),
    ...(await withFileSystem(kind, { sizeMiB }, (sysroot) => measureBoth(registry, kind, sysroot, alone))),
  ];
}

async function measureOstree(
  registry: Registry,
  kind: "xfs" | "btrfs",
  sysroot: string,
  alone: number,
): Promise<Figure[]> {
  const before = await usedBytes(sysroot);
  const { report, peakBytes } = await pullWatched(sysroot, `${registry.address}/os:1`);
  const used = (await usedBytes(sysroot)) - before;
  const account = report.ostree?.account;
  if (account === undefined) throw new Error("the image was not imported");
  const files = account.reflinked.files + account.present.files;
  const figures: Figure[] = [
    {
      what: `${kind}: metadata bytes a file, over podman's pull alone (${files} files)`,
      value: (used - alone) / files,
      unit: "B",
      most: allowance[kind],
    },
    {
      what: `${kind}: blocks used, over podman's pull alone`,
      value: used / alone,
      unit: "×",
      ...(kind === "xfs" ? { most: 1.05 } : {}),
    },
    { what: `${kind}: bytes copied`, value: account.copied.bytes, unit: "B", most: 0 },
  ];
  if (kind === "btrfs") return figures;
  const again = await onehold<PullReport>(sysroot, pullOf(`${registry.address}/os:2`));
  return [
    ...figures,
    { what: "peak memory of the pull", value: peakBytes / 1e6, unit: "MB", most: 300 },
    {
      what: "sharing a second version with one small new layer, over the first",
      value: sharingOf(again) / sharingOf(report),
      unit: "×",
    },
  ];
}

/** The same for ostree and composefs together. */
async function measureBoth(
  registry: Registry,
  kind: "xfs" | "btrfs",
  sysroot: string,
  alone: number,
): Promise<Figure[]> {
  const before = await usedBytes(sysroot);
  await onehold(sysroot, ["init", "--backend", "both"]);
  const { report, peakBytes } = await pullWatched(sysroot, `${registry.address}/os:1`);
  const used = (await usedBytes(sysroot)) - before;
  const accounts = [report.ostree?.account, report.composefs?.account];
  let [files, copied] = [0, 0];
  for (const account of accounts) {
    if (account === undefined) throw new Error("the image was not imported");
    files += account.reflinked.files + account.present.files;
    copied += account.copied.bytes;
  }
  const made = await madeBytes(sysroot);
  return [
    {
      what: `${kind}, both: metadata bytes a file and store, besides images, streams, dirtrees (${files} files)`,
      value: (used - alone - made) / files,
      unit: "B",
      most: allowance[kind],
    },
    { what: `${kind}, both: images, streams, dirtrees`, value: made / 1e6, unit: "MB" },
    { what: `${kind}, both: blocks used, over podman's pull alone`, value: used / alone, unit: "×" },
    { what: `${kind}, both: bytes copied`, value: copied, unit: "B", most: 0 },
    ...(kind === "xfs" ? [{ what: "both: peak memory of the pull", value: peakBytes / 1e6, unit: "MB" } as const] : []),
  ];
}

/** What the stores hold besides contents of files: blocks of EROFS images and streams, dirtrees and commits. */
async function madeBytes(sysroot: string): Promise<number> {
  const script = `cd "$1" && { find ostree/repo/objects -type f ! -name '*.file' -print0
find composefs/streams composefs/images -maxdepth 1 -type l -print0 | xargs -0 readlink -z -f; } | xargs -0 stat -c '%i %b' | sort -u`;
  const printed = await runProgram("sh", ["-euc", script, "sh", sysroot]);
  return printed
    .trim()
    .split("\n")
    .reduce((sum, line) => sum + Number(line.split(" ")[1]) * 512, 0);
}

async function measureTime(registry: Registry): Promise<Figure[]> {
  const name = `${registry.address}/os:1`;
  return withFileSystem("xfs", { sizeMiB }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const first = sharingOf(await onehold<PullReport>(sysroot, pullOf(name)));
    const times = { ostree: [first], composefs: [] as number[], both: [] as number[] };
    const hashing: number[] = [];
    const cloning: number[] = [];
    const overlay = join(sysroot, "ostree/bootc/storage/overlay");
    for (let round = 0; round < rounds; round += 1) {
      hashing.push(
        await timed("sh", [
          "-c",
          `find "$1"/*/diff -type f -print0 | xargs -0 -P ${availableParallelism()} -n 500 openssl dgst -sha256 >/dev/null`,
          "sh",
          overlay,
        ]),
      );
      const copies = join(folder, "copies");
      mkdirSync(copies);
      cloning.push(
        await timed("sh", [
          "-c",
          'for diff in "$1"/*/diff; do cp -a --reflink=always "$diff" "$(mktemp -d "$2/XXXXXX")"; done',
          "sh",
          overlay,
          copies,
        ]),
      );
      rmSync(copies, { recursive: true });
      for (const backend of ["ostree", "composefs", "both"] as const) {
        // What an earlier round knew of the layers must not help, either.
        for (const each of ["ostree/repo", "composefs", "onehold/layers"])
          rmSync(join(sysroot, each), { recursive: true, force: true });
        await runProgram("sync", ["-f", folder]);
        await onehold(sysroot, ["init", "--backend", backend]);
        times[backend].push(sharingOf(await onehold<PullReport>(sysroot, pullOf(name))));
      }
    }
    const tarWay = await measureTarWay(folder, join(sysroot, "ostree/bootc/storage"), name);
    const reference = median(hashing) + median(cloning);
    const [ostree, composefs, both] = [median(times.ostree), median(times.composefs), median(times.both)];
    return [
      { what: "from podman's end to published refs", value: ostree / 1000, unit: "s" },
      { what: "the first time, with podman's own data to sync", value: first / 1000, unit: "s" },
      { what: "hashing all files with openssl and cloning them with cp", value: reference / 1000, unit: "s" },
      { what: "sharing, over hashing and cloning", value: ostree / reference, unit: "×", most: 1.5 },
      { what: "the tar way: skopeo copy to dir:, ostree commit of each tar", value: tarWay / 1000, unit: "s" },
      { what: "the tar way, over sharing", value: tarWay / ostree, unit: "×", least: 8 },
      { what: "sharing with composefs alone", value: composefs / 1000, unit: "s" },
      { what: "sharing with ostree and composefs in one go", value: both / 1000, unit: "s" },
      { what: "sharing with both, over ostree alone", value: both / ostree, unit: "×", most: 2.2 },
      { what: "the tar way into ostree, over sharing with both", value: tarWay / both, unit: "×", least: 5 },
    ];
  });
}

function pullOf(name: string): string[] {
  return ["image", "pull", name, "--tls-verify=false"];
}

/** Milliseconds from podman's end on. */
function sharingOf({ milliseconds }: PullReport): number {
  return (milliseconds["sync"] ?? 0) + (milliseconds["share"] ?? 0);
}

/** Runs a pull and looks at its largest resident size meanwhile. */
async function pullWatched(sysroot: string, name: string): Promise<{ report: PullReport; peakBytes: number }> {
  const args = ["--sysroot", sysroot, "image", "pull", name, "--tls-verify=false", "--quiet", "--json"];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  let peak = 0;
  const look = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "latin1");
      peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
    } catch {
      // It has just ended.
    }
  }, 20);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const { status } = await endOf(child);
  clearInterval(look);
  if (status !== 0) throw new Error(`the pull ended with ${status}`);
  return { report: JSON.parse(Buffer.concat(chunks).toString()) as PullReport, peakBytes: peak };
}

async function usedBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}
