import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { endOf, runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, zeros } from "#fixtures/tar-writer.ts";

const many = 100_000;
/** Peak resident memory of a pull, whatever its bytes, up to 200,000 files. */
const mostMemory = 300e6;
const host = { "containers.bootc": "1" };

test("100,000 small files: fsck passes, memory is bounded, one file more costs few objects", {
  timeout: 900_000,
}, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 8192 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addLayer(layout, { entries: smallFiles("usr/first") });
    const small = await addLayer(layout, { entries: [directory("usr"), file("usr/one-more", "one more")] });
    const second = await addLayer(layout, { entries: smallFiles("usr/second") });
    addImage(layout, { tag: "1", layers: [base], labels: host });
    addImage(layout, { tag: "2", layers: [base, small], labels: host });
    addImage(layout, { tag: "double", layers: [base, second], labels: host });

    const sysroot = makeFolder(folder, "sysroot");
    const repository = join(sysroot, "ostree/repo");
    const first = await pullWatched(t, sysroot, `oci:${layout.folder}:1`);
    assert.equal(first.report.ostree?.account?.reflinked.files, many);
    assert.equal(first.report.ostree.account.copied.bytes, 0);
    assert.ok(first.peakBytes <= mostMemory, `${first.peakBytes} bytes of memory`);
    await runProgram("ostree", [`--repo=${repository}`, "fsck", "--quiet"]);

    const before = await countObjects(repository);
    const next = await pullWatched(t, sysroot, `oci:${layout.folder}:2`);
    assert.deepEqual(next.report.ostree?.layers, { imported: 1, present: 1 });
    // The file; the layer's two directories and the merge's; two commits; at most a dirmeta for each directory.
    const added = (await countObjects(repository)) - before;
    assert.ok(added >= 5 && added <= 10, `${added} objects for one file`);
    assert.ok(next.peakBytes <= mostMemory, `${next.peakBytes} bytes of memory`);

    const other = makeFolder(folder, "other");
    const double = await pullWatched(t, other, `oci:${layout.folder}:double`);
    assert.equal(double.report.ostree?.account?.reflinked.files, 2 * many);
    assert.ok(double.peakBytes <= mostMemory, `${double.peakBytes} bytes of memory`);
  });
});

test("3 GiB of zeros take no more blocks than podman's own copy", { timeout: 600_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 12_288 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const size = 3 * 2 ** 30;
    const layer = await addLayer(layout, { entries: [directory("usr"), file("usr/zeros", zeros(size))] });
    // No host image by its labels, so that it is podman's alone at first.
    addImage(layout, { tag: "1", layers: [layer] });
    const sysroot = makeFolder(folder, "sysroot");
    await onehold(sysroot, ["image", "pull", `oci:${layout.folder}:1`]);
    const podmans = await usedBytes(folder);
    const { report, peakBytes } = await pullWatched(t, sysroot, "--host", `oci:${layout.folder}:1`);
    const growth = (await usedBytes(folder)) - podmans;
    assert.deepEqual(report.ostree?.account?.reflinked, { files: 1, bytes: size });
    // Directories and a few metadata objects; XFS may hold some blocks for a while.
    assert.ok(growth < 4 << 20, `${growth} bytes more`);
    assert.ok(peakBytes <= mostMemory, `${peakBytes} bytes of memory`);
    await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
  });
});

/** Each with content of its own, of 8 to 2,000 bytes; no two objects are the same. */
function* smallFiles(top: string): Generator<Entry> {
  const filling = "x".repeat(2000);
  yield directory(top);
  for (let i = 0; i < many; i++) {
    if (i % 100 === 0) yield directory(`${top}/${i / 100}`);
    const content = `${top} ${i} ${filling.slice(0, (i * 7919) % 1980)}`;
    yield file(`${top}/${Math.floor(i / 100)}/file-${i}`, content, { mode: i % 3 === 0 ? 0o755 : 0o644 });
  }
}

function makeFolder(parent: string, name: string): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  return folder;
}

async function countObjects(repository: string): Promise<number> {
  const printed = await runProgram("find", [join(repository, "objects"), "-name", "*.*", "-printf", "."]);
  return printed.length;
}

async function usedBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}

/** Pulls, and looks at its largest resident size meanwhile: that of the process and its workers, not of podman. */
async function pullWatched(
  t: TestContext,
  sysroot: string,
  ...args: string[]
): Promise<{ report: PullReport; peakBytes: number }> {
  const program = join(import.meta.dirname, "../../../bin/onehold");
  const command = [program, "--sysroot", sysroot, "image", "pull", ...args, "--quiet", "--format", "json"];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], { stdio: ["ignore", "pipe", "inherit"] });
  let peakBytes = 0;
  const look = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "latin1");
      peakBytes = Math.max(peakBytes, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
    } catch {
      // It has just ended.
    }
  }, 20);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const { status } = await endOf(child);
  clearInterval(look);
  assert.equal(status, 0);
  const report = JSON.parse(Buffer.concat(chunks).toString()) as PullReport;
  t.diagnostic(
    `${args.at(-1)}: ${Math.round(peakBytes / 1e6)} MB, milliseconds ${JSON.stringify(report.milliseconds)}`,
  );
  return { report, peakBytes };
}
