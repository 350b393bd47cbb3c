import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import { isErrno } from "#linux/system-error.ts";

/** Type (hex), block size, blocks, free, available, inodes, free inodes: as stat -f asks for them. */
async function statOf(path: string): Promise<{ magic: number; numbers: number[] }> {
  const [magic = "", ...numbers] = (await runProgram("stat", ["-f", "-c", "%t %S %b %f %a %c %d", path]))
    .trim()
    .split(" ");
  return { magic: Number.parseInt(magic, 16), numbers: numbers.map(Number) };
}

for (const kind of ["xfs", "btrfs", "ext4"] as const) {
  test(`${kind}: as stat -f tells`, async () => {
    await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
      const { magic, numbers } = await statOf(root);
      const [blockSize = 0, blocks = 0, free = 0, available = 0, inodes = 0, freeInodes = 0] = numbers;
      using directory = openDirectory(root);
      for (const status of [fileSystemOf(root), fileSystemOf(directory.fd), fileSystemOf(Buffer.from(root))]) {
        assert.equal(status.kind, kind);
        assert.equal(status.magic, magic);
        assert.equal(status.blockSize, blockSize);
        assert.equal(status.totalBytes, blocks * blockSize);
        assert.equal(status.freeBytes, free * blockSize);
        assert.equal(status.availableBytes, available * blockSize);
        assert.equal(status.inodes, kind === "btrfs" ? Infinity : inodes);
        assert.equal(status.freeInodes, kind === "btrfs" ? Infinity : freeInodes);
        assert.equal(status.readOnly, false);
      }
      if (kind === "ext4") assert.ok(free > available, "ext4 reserves some for root: the two are not one number");
      await runProgram("mount", ["-o", "remount,ro", root]);
      assert.equal(fileSystemOf(root).readOnly, true);
      await runProgram("mount", ["-o", "remount,rw", root]);
    });
  });
}

test("tmpfs, overlayfs and others", async () => {
  await using folder = await makeTemporaryFolder("file-system");
  const [lower, tmp, merged] = ["lower", "tmp", "merged"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [lower, tmp, merged]) mkdirSync(path);
  await runProgram("mount", ["-t", "tmpfs", "-o", "ro,nosuid,noexec", "none", tmp]);
  await runProgram("mount", ["-t", "overlay", "-o", `lowerdir=${lower}:${tmp}`, "none", merged]);
  assert.deepEqual([fileSystemOf(tmp).kind, fileSystemOf(tmp).readOnly], ["tmpfs", true]);
  assert.equal(fileSystemOf(merged).kind, "overlay");
  assert.equal(fileSystemOf("/proc").kind, "other");
  assert.throws(
    () => fileSystemOf("/there/is/none"),
    (error) => isErrno(error, "ENOENT"),
  );
  assert.throws(
    () => fileSystemOf(-1),
    (error) => isErrno(error, "EBADF"),
  );
});
