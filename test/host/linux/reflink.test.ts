import assert from "node:assert/strict";
import { constants, ftruncateSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { openFile } from "#linux/descriptor.ts";
import { cloneFile, dedupeRange } from "#linux/reflink.ts";
import { isErrno } from "#linux/system-error.ts";

const { O_CREAT, O_RDONLY, O_RDWR } = constants;
const MiB = 1024 * 1024;

/** Bytes that no file system can find twice or compress. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, x = 1; at + 4 <= length; at += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(x, at);
  }
  return bytes;
}

/** The physical ranges, as filefrag prints them, whether each is shared. */
async function filefrag(path: string): Promise<{ physical: string[]; allShared: boolean }> {
  const lines = (await runProgram("filefrag", ["-v", path])).split("\n").filter((line) => /^\s*\d+:/.test(line));
  const physical = lines.map((line) => line.split(":").slice(1, 3).join(":"));
  return { physical, allShared: lines.every((line) => line.includes("shared")) };
}

for (const kind of ["xfs", "btrfs"] as const) {
  describe(kind, () => {
    test("a clone has the bytes and the extents of its source, until one is written", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const [a, b] = [join(root, "a"), join(root, "b")];
        writeFileSync(a, noise(3 * MiB + 123));
        using source = openFile(a, O_RDONLY);
        using destination = openFile(b, O_RDWR | O_CREAT);
        cloneFile(destination.fd, source.fd);
        await runProgram("sync", ["-f", root]);
        await runProgram("cmp", [a, b]);
        const [first, second] = [await filefrag(a), await filefrag(b)];
        assert.ok(first.physical.length > 0 && first.allShared);
        assert.deepEqual(second, first);
        writeSync(destination.fd, Buffer.alloc(3 * MiB), 0, 3 * MiB, 0);
        await runProgram("sync", ["-f", root]);
        assert.notDeepEqual((await filefrag(b)).physical, first.physical);
        assert.ok(readFileSync(a).equals(noise(3 * MiB + 123)));
      });
    });

    test("equal ranges are shared, whole and in part", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const [a, b] = [join(root, "a"), join(root, "b")];
        const bytes = noise(33 * MiB + 777);
        for (const path of [a, b]) writeFileSync(path, bytes);
        await runProgram("sync", ["-f", root]);
        assert.ok(!(await filefrag(b)).allShared);
        using source = openFile(a, O_RDONLY);
        using destination = openFile(b, O_RDWR);
        const part = dedupeRange({ fd: source.fd, offset: 4096, length: 8192 }, { fd: destination.fd, offset: 4096 });
        assert.deepEqual(part, { outcome: "same", bytes: 8192 });
        const whole = dedupeRange(
          { fd: source.fd, offset: 0, length: bytes.length },
          { fd: destination.fd, offset: 0 },
        );
        assert.deepEqual(whole, { outcome: "same", bytes: bytes.length });
        await runProgram("sync", ["-f", root]);
        assert.ok((await filefrag(a)).allShared && (await filefrag(b)).allShared);
        await runProgram("cmp", [a, b]);
        for (const [offset, length] of [
          [0, bytes.length + 1],
          [1, 4096],
        ] as const) {
          const beyond = () => dedupeRange({ fd: source.fd, offset, length }, { fd: destination.fd, offset });
          assert.throws(beyond, (error) => isErrno(error, "EINVAL"));
        }
      });
    });

    test("a difference anywhere is told, and nothing is lost", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const [a, b] = [join(root, "a"), join(root, "b")];
        const bytes = noise(17 * MiB);
        writeFileSync(a, bytes);
        bytes.writeUInt8(bytes.readUInt8(17 * MiB - 1) ^ 1, 17 * MiB - 1);
        writeFileSync(b, bytes);
        using source = openFile(a, O_RDONLY);
        using destination = openFile(b, O_RDWR);
        const result = dedupeRange({ fd: source.fd, offset: 0, length: 17 * MiB }, { fd: destination.fd, offset: 0 });
        assert.deepEqual(result, { outcome: "differs" });
        assert.ok(readFileSync(b).equals(bytes));
      });
    });
  });
}

test("a file system without reflinks, and two file systems, are told apart", async () => {
  await withFileSystem("ext4", { sizeMiB: 32 }, async (root) => {
    writeFileSync(join(root, "a"), "text");
    using source = openFile(join(root, "a"), O_RDONLY);
    using same = openFile(join(root, "b"), O_RDWR | O_CREAT);
    using other = openFile("/dev/shm", constants.O_DIRECTORY | O_RDWR | 0o20000000);
    ftruncateSync(other.fd, 4);
    assert.throws(
      () => cloneFile(same.fd, source.fd),
      (error) => isErrno(error, "EOPNOTSUPP"),
    );
    assert.throws(
      () => cloneFile(other.fd, source.fd),
      (error) => isErrno(error, "EXDEV"),
    );
    assert.throws(
      () => dedupeRange({ fd: source.fd, offset: 0, length: 4 }, { fd: same.fd, offset: 0 }),
      (error) => isErrno(error, "EOPNOTSUPP", "EINVAL"),
    );
  });
});
