import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { makeFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { clearUnfinishedWrites, removeDurably, writeFileDurably } from "#linux/durable.ts";
import { syncDirectory, syncfs } from "#linux/sync.ts";
import { isErrno } from "#linux/system-error.ts";

/** An XFS on which `change` ran and then the power failed: nothing that is only in memory reaches the disk. */
async function afterPowerCut(change: (root: string) => void, look: (root: string) => void): Promise<void> {
  await using fileSystem = await makeFileSystem("xfs", { sizeMiB: 300 });
  await using folder = await makeTemporaryFolder("durable");
  const [disk, root] = [join(folder.path, "disk.img"), join(folder.path, "mnt")];
  mkdirSync(root);
  change(fileSystem.mountPoint);
  // Without -f the log is not flushed either.
  await runProgram("xfs_io", ["-x", "-c", "shutdown", fileSystem.mountPoint]);
  // A copy of the disk as it is now: a mount namespace of another test may keep the original mounted.
  await runProgram("cp", ["--sparse=always", fileSystem.imageFile, disk]);
  await runProgram("mount", ["-t", "xfs", "-o", "loop,nouuid", disk, root]);
  look(root);
}

describe("after a power cut", () => {
  test("what was written durably is there, what was merely written is not", async () => {
    await afterPowerCut(
      (root) => {
        writeFileDurably(join(root, "durable"), "first");
        writeFileDurably(join(root, "durable"), "second, and longer");
        writeFileSync(join(root, "merely"), "gone");
      },
      (root) => {
        assert.equal(readFileSync(join(root, "durable"), "utf8"), "second, and longer");
        assert.deepEqual(readdirSync(root), ["durable"]);
      },
    );
  });

  test("what was removed durably does not come back", async () => {
    await afterPowerCut(
      (root) => {
        writeFileDurably(join(root, "a"), "a");
        removeDurably(join(root, "a"));
      },
      (root) => assert.deepEqual(readdirSync(root), []),
    );
  });

  test("one sync of the file system has kept everything before it", async () => {
    await afterPowerCut(
      (root) => {
        mkdirSync(join(root, "folder"));
        for (let n = 0; n < 50; n += 1) writeFileSync(join(root, "folder", String(n)), `content ${n}`);
        using directory = openDirectory(join(root, "folder"));
        syncfs(directory.fd);
        writeFileSync(join(root, "later"), "");
      },
      (root) => {
        for (let n = 0; n < 50; n += 1)
          assert.equal(readFileSync(join(root, "folder", String(n)), "utf8"), `content ${n}`);
        assert.ok(!existsSync(join(root, "later")));
      },
    );
  });

  test("a synced directory has its entries", async () => {
    await afterPowerCut(
      (root) => {
        mkdirSync(join(root, "folder"));
        syncDirectory(root);
      },
      (root) => assert.deepEqual(readdirSync(root), ["folder"]),
    );
  });
});

describe("a durable write", () => {
  test("sets the mode, whatever the umask and the old file", async () => {
    await using folder = await makeTemporaryFolder("durable");
    const path = join(folder.path, "file");
    const mode = async () => (await runProgram("stat", ["-c", "%a", path])).trim();
    const umask = process.umask(0o077);
    try {
      writeFileDurably(path, "");
      assert.equal(await mode(), "644");
      writeFileDurably(path, Buffer.alloc(3_000_000, 1), 0o600);
      assert.equal(await mode(), "600");
      assert.equal(readFileSync(path).length, 3_000_000);
    } finally {
      process.umask(umask);
    }
  });

  test("that fails leaves the folder as it was", async () => {
    await using folder = await makeTemporaryFolder("durable");
    mkdirSync(join(folder.path, "taken/child"), { recursive: true });
    assert.throws(
      () => writeFileDurably(join(folder.path, "taken"), "x"),
      (error) => isErrno(error, "EISDIR"),
    );
    assert.throws(
      () => writeFileDurably(join(folder.path, "none/file"), "x"),
      (error) => isErrno(error, "ENOENT"),
    );
    assert.deepEqual(readdirSync(folder.path), ["taken"]);
  });

  test("that was killed is cleared, and nothing else", async () => {
    await using folder = await makeTemporaryFolder("durable");
    const module = new URL("../../../src/linux/durable.ts", import.meta.url);
    const script = `
      const { writeFileDurably } = await import(${JSON.stringify(module.href)});
      process.on("exit", () => {});
      fs.fsyncSync = () => process.kill(process.pid, "SIGKILL");
      syncBuiltinESMExports();
      writeFileDurably(process.argv[1] + "/file", "x");
    `;
    const imports = 'import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";';
    await assert.rejects(
      runProgram(process.execPath, ["--input-type=module", "-e", imports + script, folder.path]),
      /SIGKILL/,
    );
    writeFileSync(join(folder.path, ".onehold-else"), "");
    assert.equal(readdirSync(folder.path).length, 2);
    assert.equal(clearUnfinishedWrites(folder.path), 1);
    assert.deepEqual(readdirSync(folder.path), [".onehold-else"]);
  });
});

test("removing what is not there is no failure; a folder is not removed", async () => {
  await using folder = await makeTemporaryFolder("durable");
  removeDurably(join(folder.path, "none"));
  mkdirSync(join(folder.path, "folder"));
  assert.throws(
    () => removeDurably(join(folder.path, "folder")),
    (error) => isErrno(error, "EISDIR"),
  );
});
