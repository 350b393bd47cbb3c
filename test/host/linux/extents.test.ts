import assert from "node:assert/strict";
import { constants, fsyncSync, ftruncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { makeFileSystem, withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { openFile } from "#linux/descriptor.ts";
import { type Extent, extentsOf } from "#linux/extents.ts";
import { cloneFile } from "#linux/reflink.ts";
import { isErrno } from "#linux/system-error.ts";

const { O_CREAT, O_RDWR } = constants;

/** What filefrag prints, in bytes: the same ioctl, by another program. */
async function filefrag(path: string): Promise<Extent[]> {
  const lines = (await runProgram("filefrag", ["-v", "-b1", path])).split("\n");
  return lines.flatMap((line) => {
    const match = /^\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):(.*)$/.exec(line);
    if (match === null) return [];
    const [, logical, physical, length, rest = ""] = match;
    const has = (flag: string) => rest.split(/[\s,:]+/).includes(flag);
    return {
      logical: Number(logical),
      physical: Number(physical),
      length: Number(length),
      shared: has("shared"),
      inline: has("inline"),
      unwritten: has("unwritten"),
      unknown: has("unknown_loc"),
      encoded: has("encoded"),
    };
  });
}

/** Every other block: so many extents that one ioctl does not return them all. */
function writeComb(fd: number, teeth: number): void {
  const block = Buffer.alloc(4096, 1);
  for (let tooth = 0; tooth < teeth; tooth += 1) writeSync(fd, block, 0, block.length, tooth * 8192);
}

for (const kind of ["xfs", "btrfs", "ext4"] as const) {
  describe(kind, () => {
    test("hundreds of extents, holes and unwritten space as filefrag sees them", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const path = join(root, "comb");
        using file = openFile(path, O_RDWR | O_CREAT);
        writeComb(file.fd, 700);
        await runProgram("fallocate", ["--offset", "64MiB", "--length", "1MiB", path]);
        fsyncSync(file.fd);
        const extents = extentsOf(file.fd);
        assert.deepEqual(extents, await filefrag(path));
        assert.equal(extents.filter((extent) => !extent.unwritten).length, 700);
        assert.ok(extents.some((extent) => extent.unwritten && extent.logical === 64 * 1024 * 1024));
        assert.ok(extents.every((extent) => !extent.shared && !extent.unknown));
      });
    });

    test("what is not written out yet is unknown, and known after a sync", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        using file = openFile(join(root, "new"), O_RDWR | O_CREAT);
        writeSync(file.fd, Buffer.alloc(100_000, 1));
        assert.deepEqual(
          extentsOf(file.fd).map(({ unknown }) => unknown),
          [true],
        );
        const [extent, ...rest] = extentsOf(file.fd, { sync: true });
        assert.deepEqual(rest, []);
        assert.ok(extent !== undefined && !extent.unknown && extent.physical > 0);
      });
    });

    test("an empty file and one that is a hole have none", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        using file = openFile(join(root, "empty"), O_RDWR | O_CREAT);
        assert.deepEqual(extentsOf(file.fd), []);
        ftruncateSync(file.fd, 10_000_000);
        assert.deepEqual(extentsOf(file.fd, { sync: true }), []);
      });
    });
  });
}

for (const kind of ["xfs", "btrfs"] as const) {
  test(`${kind}: clones share, and are the same place`, async () => {
    await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
      using a = openFile(join(root, "a"), O_RDWR | O_CREAT);
      using b = openFile(join(root, "b"), O_RDWR | O_CREAT);
      writeSync(a.fd, Buffer.alloc(100_000, 7));
      assert.ok(extentsOf(a.fd, { sync: true }).every((extent) => !extent.shared));
      cloneFile(b.fd, a.fd);
      fsyncSync(b.fd);
      const extents = extentsOf(a.fd, { sync: true });
      assert.ok(extents.length > 0 && extents.every((extent) => extent.shared));
      assert.deepEqual(extentsOf(b.fd), extents);
      assert.deepEqual(extents, await filefrag(join(root, "a")));
    });
  });
}

test("btrfs: small files are inline, compressed ones encoded", async () => {
  await using fileSystem = await makeFileSystem("btrfs", { sizeMiB: 300, mountOptions: ["compress-force=zstd"] });
  const [small, large] = [join(fileSystem.mountPoint, "small"), join(fileSystem.mountPoint, "large")];
  using smallFile = openFile(small, O_RDWR | O_CREAT);
  using largeFile = openFile(large, O_RDWR | O_CREAT);
  writeSync(smallFile.fd, "a few bytes");
  writeSync(largeFile.fd, Buffer.alloc(300_000, "ab"));
  for (const [path, fd] of [
    [small, smallFile.fd],
    [large, largeFile.fd],
  ] as const) {
    assert.deepEqual(extentsOf(fd, { sync: true }), await filefrag(path));
  }
  assert.ok(extentsOf(smallFile.fd).every((extent) => extent.inline));
  assert.ok(extentsOf(largeFile.fd).every((extent) => extent.encoded && !extent.inline));
});

test("a file system that does not tell where its bytes are", () => {
  using file = openFile("/dev/shm", constants.O_DIRECTORY | O_RDWR | 0o20000000);
  assert.throws(
    () => extentsOf(file.fd),
    (error) => isErrno(error, "EOPNOTSUPP"),
  );
});
