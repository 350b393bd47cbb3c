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

async function measureBlocks(registry: Registry, kind: "xfs" | "btrfs"): Promise<Figure[]> {
  const name = `${registry.address}/os:1`;
  const alone = await withFileSystem(kind, { sizeMiB }, async (folder) => {
    const before = await usedBytes(folder);
    await pullWithPodman(join(folder, "store"), name);
    return (await usedBytes(folder)) - before;
  });
  return withFileSystem(kind, { sizeMiB }, async (sysroot) => {
    const before = await usedBytes(sysroot);
    const { report, peakBytes } = await pullWatched(sysroot, name);
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
    if (kind === "xfs") {
      figures.push({ what: "peak memory of the pull", value: peakBytes / 1e6, unit: "MB", most: 300 });
      const again = await onehold<PullReport>(sysroot, [
        "image",
        "pull",
        `${registry.address}/os:2`,
        "--tls-verify=false",
      ]);
      const ours = (again.milliseconds["sync"] ?? 0) + (again.milliseconds["share"] ?? 0);
      const first = (report.milliseconds["sync"] ?? 0) + (report.milliseconds["share"] ?? 0);
      figures.push({
        what: "sharing a second version with one small new layer, over the first",
        value: ours / first,
        unit: "×",
      });
    }
    return figures;
  });
}

export async function measureTime(registry: Registry): Promise<Figure[]> {
  const name = `${registry.address}/os:1`;
  return withFileSystem("xfs", { sizeMiB }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const first = await onehold<PullReport>(sysroot, ["image", "pull", name, "--tls-verify=false"]);
    const ours = [(first.milliseconds["sync"] ?? 0) + (first.milliseconds["share"] ?? 0)];
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
      rmSync(join(sysroot, "ostree/repo"), { recursive: true });
      await runProgram("sync", ["-f", folder]);
      const again = await onehold<PullReport>(sysroot, ["image", "pull", name, "--tls-verify=false"]);
      ours.push((again.milliseconds["sync"] ?? 0) + (again.milliseconds["share"] ?? 0));
    }
    const tarWay = await measureTarWay(folder, join(sysroot, "ostree/bootc/storage"), name);
    const reference = median(hashing) + median(cloning);
    return [
      { what: "from podman's end to published refs", value: median(ours) / 1000, unit: "s" },
      { what: "the first time, with podman's own data to sync", value: (ours[0] ?? Number.NaN) / 1000, unit: "s" },
      { what: "hashing all files with openssl and cloning them with cp", value: reference / 1000, unit: "s" },
      { what: "sharing, over hashing and cloning", value: median(ours) / reference, unit: "×", most: 1.5 },
      { what: "the tar way: skopeo copy to dir:, ostree commit of each tar", value: tarWay / 1000, unit: "s" },
      { what: "the tar way, over sharing", value: tarWay / median(ours), unit: "×", least: 8 },
    ];
  });
}

/** What there is without sharing: the image leaves the store as tars, which ostree reads. */
async function measureTarWay(folder: string, store: string, name: string): Promise<number> {
  const script = `
mkdir "$1/tar-way" && cd "$1/tar-way" && ostree --repo=repo init --mode=bare
skopeo --insecure-policy copy --quiet "containers-storage:[overlay@$2+$1/tar-way/run]$3" dir:image
for layer in $(sed 's/},{/}\\n{/g' image/manifest.json | sed -n '/layer/s/.*"digest":"sha256:\\([0-9a-f]*\\)".*/\\1/p'); do
  ostree --repo=repo commit --branch="layer-$layer" --tree="tar=image/$layer" --tar-autocreate-parents >/dev/null || echo "ostree refuses $layer" >&2
done`;
  try {
    return await timed("unshare", [
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-euc",
      script,
      "sh",
      folder,
      store,
      name,
    ]);
  } finally {
    rmSync(join(folder, "tar-way"), { recursive: true, force: true });
  }
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

async function timed(command: string, args: readonly string[]): Promise<number> {
  const start = performance.now();
  await runProgram(command, args);
  return performance.now() - start;
}

async function usedBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}
