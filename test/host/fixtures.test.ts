import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { byteString } from "#base/bytes.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { makeModernPrograms, runModern } from "#fixtures/modern-chroot.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import * as tar from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { fixtureScript, soon, startFixture } from "./fixture-owner.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const oddName = Buffer.from("odd \\ \n\xff", "latin1");
const longName = `${"deep/".repeat(30)}${"n".repeat(255)}`;

/** What the hard cases need of a tar, in a few entries. */
const entries: readonly tar.Entry[] = [
  tar.directory("etc", { mode: 0o2750, uid: 12, gid: 34 }),
  tar.file("etc/motd", "hello", { mode: 0o4755, uid: 3_000_000, mtime: "1700000000.123456789" }),
  tar.file("etc/marked", "x", { xattrs: { "user.a": "1", "user.b": Buffer.from([0, 255]) } }),
  tar.hardlink("etc/again", "etc/motd", { mode: 0o4755, uid: 3_000_000, mtime: "1700000000.123456789" }),
  tar.symlink("link", "l".repeat(200)),
  tar.fifo("fifo", { mode: 0o600 }),
  tar.device("null", "char", [1, 3]),
  tar.device("disk", "block", [259, 70000]),
  tar.file(oddName, "odd"),
  tar.file(longName, "long"),
  tar.sparse("sparse", 1 << 20, [{ offset: 65_536, bytes: Buffer.from("middle") }]),
  tar.file("zeros", tar.zeros(3_000_001)),
  tar.file("last"),
];

describe("file systems", () => {
  for (const kind of ["xfs", "btrfs", "ext4"] as const) {
    test(`${kind} is what it says, and leaves nothing behind`, async () => {
      let gone = "";
      const failing = withFileSystem(kind, { sizeMiB: 300 }, async (mountPoint) => {
        gone = mountPoint;
        const type = await runProgram("stat", ["--file-system", "--format=%T", mountPoint]);
        assert.equal(type.trim(), kind === "ext4" ? "ext2/ext3" : kind);
        writeFileSync(join(mountPoint, "a"), Buffer.alloc(100_000, 1));
        const copy = await tryProgram("cp", ["--reflink=always", "a", "b"], { cwd: mountPoint });
        assert.equal(copy.status === 0, kind !== "ext4");
        const detaching = [
          "--list",
          "--noheadings",
          "--output",
          "AUTOCLEAR",
          "--associated",
          join(mountPoint, "../disk.img"),
        ];
        assert.equal((await runProgram("losetup", detaching)).trim(), "1");
        throw new Error("the test's own");
      });
      await assert.rejects(failing, /the test's own/);
      assert.equal(existsSync(gone), false);
      assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), new RegExp(gone));
    });
  }

  test("what a killed test leaves is cleared by the next one", async () => {
    const owner = await startFixture("file-systems.ts", 'makeFileSystem("ext4", { sizeMiB: 16 })', "mountPoint");
    assert.ok(existsSync(owner.printed));
    await owner.kill();
    await runProgram(process.execPath, [
      "--eval",
      fixtureScript("temporary-folders.ts", 'makeTemporaryFolder("next")'),
    ]);
    // Tests beside this one clear too, and may be at it.
    assert.ok(await soon(() => !existsSync(owner.printed)));
  });
});

describe("tars", () => {
  for (const dialect of ["pax", "gnu"] as const) {
    test(`GNU tar reads the ${dialect} dialect as it was meant`, async () => {
      await using folder = await makeTemporaryFolder("tar");
      const tree = join(folder.path, "tree");
      mkdirSync(tree);
      const tarFile = join(folder.path, "x.tar");
      writeFileSync(tarFile, Buffer.concat([...tar.writeTar(entries, { dialect, trailing: Buffer.from("junk") })]));
      await runProgram("tar", [
        "--extract",
        "--same-permissions",
        "--xattrs",
        "--xattrs-include=*",
        "--file",
        tarFile,
        "--directory",
        tree,
      ]);
      const files = new Map((await listTree(tree)).map((file) => [file.path, file]));
      const file = (name: string | Buffer) => {
        const found = files.get(byteString(Buffer.from(name)));
        assert.ok(found, `${name.toString()} is missing`);
        return found;
      };
      const { type, mode, uid, gid } = file("etc");
      assert.deepEqual({ type, mode, uid, gid }, { type: "directory", mode: 0o2750, uid: 12, gid: 34 });
      assert.equal(file("etc/motd").mode, 0o4755);
      assert.equal(file("etc/motd").uid, 3_000_000);
      assert.equal(file("etc/motd").mtime, "1700000000.1234567890");
      assert.equal(file("etc/motd").inode, file("etc/again").inode);
      assert.deepEqual(file("etc/marked").xattrs, { "user.a": "31", "user.b": "00ff" });
      assert.equal(file("link").linkTarget, "l".repeat(200));
      assert.equal(file("fifo").type, "fifo");
      assert.deepEqual([file("null").type, file("null").device], ["char", "1:3"]);
      assert.deepEqual([file("disk").type, file("disk").device], ["block", "103:11170"]);
      assert.equal(file(oddName).sha256, sha256(Buffer.from("odd")));
      assert.equal(file(longName).sha256, sha256(Buffer.from("long")));
      const sparse = Buffer.alloc(1 << 20);
      sparse.write("middle", 65_536);
      assert.equal(file("sparse").sha256, sha256(sparse));
      assert.equal(file("zeros").size, 3_000_001);
      assert.equal(file("last").size, 0);
    });
  }
});

describe("newer programs", () => {
  test("see the caller's mounts and descriptor 3", async () => {
    assert.match(await runModern(["podman", "--version"]), / 5\.\d+/);
    assert.match(await runModern(["ostree", "--version"]), /2026\.\d+/);
    await using folder = await makeTemporaryFolder("seen");
    writeFileSync(join(folder.path, "note"), "passed on");
    const fd = openSync(join(folder.path, "note"), "r");
    const read = await runModern(["cat", "/proc/self/fd/3"], { fd3: fd }).finally(() => closeSync(fd));
    assert.equal(read, "passed on");

    await using programs = await makeModernPrograms(["ls"]);
    const script = `mount -t tmpfs tmpfs ${folder.path} && touch ${folder.path}/mounted && ls ${folder.path}`;
    const env = { PATH: programs.path };
    assert.equal(await runProgram("unshare", ["--mount", "sh", "-c", script], { env }), "mounted\n");
  });
});
