import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { pullWithPodman } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";

/** Bytes of metadata that a projection may take, for each file. */
const allowance = { xfs: 2048, btrfs: 5120 } as const;

for (const kind of ["xfs", "btrfs"] as const) {
  test(`a Debian image takes no second copy on disk (${kind})`, { timeout: 300_000 }, async () => {
    const { layout } = await debianImages();
    await using registry = await makeRegistry({ layouts: [layout] });
    const name = `${registry.address}/small:1`;
    const alone = await withFileSystem(kind, { sizeMiB: 2048 }, async (folder) => {
      const before = await usedBytes(folder);
      await pullWithPodman(join(folder, "store"), name);
      return (await usedBytes(folder)) - before;
    });
    await withFileSystem(kind, { sizeMiB: 2048 }, async (sysroot) => {
      const before = await usedBytes(sysroot);
      const report = await onehold<PullReport>(sysroot, ["image", "pull", name, "--tls-verify=false"]);
      const used = (await usedBytes(sysroot)) - before;
      const account = report.ostree?.account;
      assert.ok(account);
      const files = account.reflinked.files + account.present.files;
      assert.ok(files > 5000, `${files} files`);
      assert.equal(account.copied.bytes + account.hardlinked.bytes, 0);
      const extents = await contentExtents(join(sysroot, "ostree/repo/objects"));
      assert.ok(extents.files > 4000, `${extents.files} objects with content`);
      assert.deepEqual(extents.exclusive, [], "objects with bytes that no other file shares");
      const each = (used - alone) / files;
      assert.ok(
        each <= allowance[kind],
        `${each} bytes a file more than podman's pull alone (${used} and ${alone} bytes used)`,
      );
      await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck"]);
    });
  });
}

async function usedBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .trim()
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}

/** What filefrag says of every content object: whether all its extents are shared (or within the metadata). */
async function contentExtents(objects: string): Promise<{ files: number; exclusive: string[] }> {
  const script = `find "$1" -name '*.file' -type f -size +0 -print0 | xargs -0 -r filefrag -v`;
  const printed = await runProgram("sh", ["-c", script, "sh", objects]);
  const exclusive: string[] = [];
  let files = 0;
  for (const part of printed.split(/^(?=File size of )/m)) {
    const name = /^File size of (.*) is \d+/m.exec(part)?.[1];
    if (name === undefined) continue;
    files++;
    const extents = part.split("\n").filter((line) => /^\s*\d+:/.test(line));
    if (extents.some((line) => !/\b(?:shared|inline)\b/.test(line))) exclusive.push(name);
  }
  return { files, exclusive };
}
