import assert from "node:assert/strict";
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pullWithPodman } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import {
  assertSound,
  blocksOf,
  fileObjects,
  filesOfTheirOwn,
  objectFiles,
  snapshot,
  usedBytes,
} from "../backend/repository.ts";

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
      const objects = contentObjects(join(sysroot, "ostree/repo/objects"));
      assert.ok(objects.length > 4000, `${objects.length} objects with content`);
      assert.deepEqual(await filesOfTheirOwn(objects), [], "objects with bytes that no other file shares");
      const each = (used - alone) / files;
      assert.ok(
        each <= allowance[kind],
        `${each} bytes a file more than podman's pull alone (${used} and ${alone} bytes used)`,
      );
      await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck"]);

      // The same image in composefs, too.
      await onehold(sysroot, ["init", "--backend", "both"]);
      const { composefs } = await onehold<PullReport>(sysroot, ["image", "pull", name, "--tls-verify=false"]);
      assert.deepEqual(composefs?.refused, []);
      const all = (await usedBytes(sysroot)) - before;
      const repository = join(sysroot, "composefs");
      const shared = objectFiles(repository, fileObjects(repository));
      assert.ok(shared.length > 3500, `${shared.length} objects with content`);
      assert.deepEqual(await filesOfTheirOwn(shared), []);
      const known = new Set(shared);
      const made = [...snapshot(join(repository, "objects")).keys()]
        .map((file) => join(repository, "objects", file))
        .filter((file) => !known.has(file));
      const more = (all - used - (await blocksOf(made))) / shared.length;
      assert.ok(more <= allowance[kind], `${more} bytes a file for composefs, besides images, streams and documents`);
      assert.deepEqual(await filesOfTheirOwn(objects), []);
      await assertSound(repository);
    });
  });
}

function contentObjects(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((name) => name.endsWith(".file"))
    .filter((name) => {
      const stat = lstatSync(name);
      return stat.isFile() && stat.size > 0;
    });
}
