import assert from "node:assert/strict";
import {
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { AT_FDCWD, O_TMPFILE, openAt, openDirectory, owned } from "#linux/descriptor.ts";
import { linkAt } from "#linux/hardlink.ts";
import { exchange, renameAt, renameAtNoReplace, renameNoReplace } from "#linux/rename.ts";
import { isErrno, SystemError } from "#linux/system-error.ts";
import { openTemporary, publish } from "#linux/temporary-file.ts";

for (const kind of ["xfs", "btrfs", "ext4"] as const) {
  test(`${kind}: a nameless file, published in one step`, async () => {
    await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
      using directory = openDirectory(root);
      const before = readdirSync(root);
      const name = Buffer.from([0xff, 0x41]);
      {
        using file = openTemporary(root, 0o640);
        writeSync(file.fd, "content");
        assert.deepEqual(readdirSync(root), before);
        assert.equal(publish(file.fd, directory.fd, name), "published");
        assert.equal(publish(file.fd, directory.fd, name), "exists");
        assert.equal(publish(file.fd, directory.fd, "second"), "published");
      }
      using hot = owned(openAt(directory.fd, ".", O_TMPFILE | constants.O_WRONLY, 0o600));
      writeSync(hot.fd, "other");
      assert.equal(publish(hot.fd, directory.fd, "second"), "exists");
      assert.equal((await runProgram("stat", ["-c", "%h %s", join(root, "second")])).trim(), "2 7");
      assert.ok((await runProgram("find", [root, "-samefile", join(root, "second")])).split("\n").length >= 3);
    });
  });
}

test("a nameless file that is closed unpublished is gone", async () => {
  await withFileSystem("xfs", { sizeMiB: 300 }, async (root) => {
    const inodes = async () => Number((await runProgram("df", ["--output=iused", root])).trim().split("\n")[1]);
    const before = await inodes();
    {
      using file = openTemporary(root);
      assert.ok(file.fd >= 0);
      assert.equal(await inodes(), before + 1);
    }
    await runProgram("sync", ["-f", root]);
    assert.equal(await inodes(), before);
  });
});

describe("a hardlink", () => {
  test("is the same file, and of a symlink the symlink", async () => {
    await using folder = await makeTemporaryFolder("publication");
    using directory = openDirectory(folder.path);
    writeFileSync(join(folder.path, "a"), "content");
    symlinkSync("a", join(folder.path, "link"));
    const odd = Buffer.from([0x20, 0xfe]);
    assert.equal(linkAt(directory.fd, "a", directory.fd, odd), "linked");
    assert.equal(linkAt(directory.fd, odd, directory.fd, "b"), "linked");
    assert.equal(linkAt(directory.fd, "link", directory.fd, "link2"), "linked");
    assert.equal(linkAt(directory.fd, "a", directory.fd, "link"), "exists");
    const [a, b] = (await runProgram("stat", ["-c", "%i %h", join(folder.path, "a"), join(folder.path, "b")]))
      .trim()
      .split("\n");
    assert.equal(a, b);
    assert.match(a ?? "", / 3$/);
    assert.equal(readlinkSync(join(folder.path, "link2")), "a");
  });

  test("that fails names what is missing", async () => {
    await using folder = await makeTemporaryFolder("publication");
    using directory = openDirectory(folder.path);
    assert.throws(
      () => linkAt(directory.fd, "none", directory.fd, "new"),
      (error) =>
        error instanceof SystemError && error.errnoName === "ENOENT" && error.path === join(folder.path, "none"),
    );
    assert.throws(
      () => linkAt(AT_FDCWD, "/proc/self/status", directory.fd, "new"),
      (error) => isErrno(error, "EXDEV"),
    );
  });

  test("beyond what the file system allows is told apart", async () => {
    await withFileSystem("ext4", { sizeMiB: 64 }, async (root) => {
      writeFileSync(join(root, "0"), "");
      using directory = openDirectory(root);
      let links = 1;
      while (links < 70_000 && linkAt(directory.fd, "0", directory.fd, String(links)) === "linked") links += 1;
      assert.equal(links, 65_000);
      assert.equal(linkAt(directory.fd, "0", directory.fd, "one-more"), "too-many-links");
      assert.equal((await runProgram("stat", ["-c", "%h", join(root, "0")])).trim(), "65000");
      assert.notEqual((await tryProgram("ln", [join(root, "0"), join(root, "by-ln")])).status, 0);
    });
  });
});

for (const kind of ["xfs", "btrfs", "ext4"] as const) {
  describe(`renaming on ${kind}`, () => {
    test("exchanges, replaces, or does not", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const path = (name: string) => join(root, name);
        const read = (name: string) => readFileSync(path(name), "utf8");
        const inode = (name: string) => lstatSync(path(name)).ino;
        writeFileSync(path("a"), "a");
        writeFileSync(path("b"), "b");
        mkdirSync(path("directory"));
        const [inodeA, inodeDirectory] = [inode("a"), inode("directory")];
        exchange(path("a"), path("directory"));
        assert.deepEqual([inode("directory"), inode("a")], [inodeA, inodeDirectory]);
        exchange(path("a"), path("directory"));
        assert.equal(renameNoReplace(path("a"), path("b")), "exists");
        assert.deepEqual([read("a"), read("b")], ["a", "b"]);
        assert.equal(renameNoReplace(path("a"), path("c")), "renamed");
        assert.deepEqual([existsSync(path("a")), read("c")], [false, "a"]);
        using directory = openDirectory(path("directory"));
        using top = openDirectory(root);
        const odd = Buffer.from([0xff, 0x0a]);
        renameAt(top.fd, "c", directory.fd, odd);
        assert.deepEqual(readdirSync(path("directory"), { encoding: "buffer" }), [odd]);
        assert.equal(renameAtNoReplace(directory.fd, odd, top.fd, "b"), "exists");
        renameAt(directory.fd, odd, top.fd, "b");
        assert.equal(read("b"), "a");
      });
    });
  });
}

test("a rename that fails names what is missing", () => {
  assert.throws(
    () => exchange("/there/is/none", "/tmp"),
    (error) => error instanceof SystemError && error.errnoName === "ENOENT" && error.path === "/there/is/none",
  );
});
