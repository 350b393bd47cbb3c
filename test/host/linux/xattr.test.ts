import assert from "node:assert/strict";
import { constants, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { byteString, type ByteString, byteStringOfText } from "#base/bytes.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openFile } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs, removeXattr, setXattr, type XattrTarget } from "#linux/xattr.ts";

const { O_RDONLY, O_RDWR } = constants;
const name = byteStringOfText;
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

/** Names to values in hex, by getfattr; not following a symlink. */
async function getfattr(path: string): Promise<Record<string, string>> {
  const dump = await runProgram("getfattr", [
    "--no-dereference",
    "-d",
    "-m",
    "-",
    "-e",
    "hex",
    "--absolute-names",
    path,
  ]);
  const lines = dump.split("\n").filter((line) => line.includes("="));
  return Object.fromEntries(
    lines.map((line) => line.split("=0x", 2)).map(([key = "", value = ""]) => [key.replace(/=$/, ""), value]),
  );
}

function readAll(target: XattrTarget): Record<string, string> {
  return Object.fromEntries(
    listXattrs(target).map((key) => [key, getXattr(target, key)?.toString("hex") ?? "missing"]),
  );
}

for (const kind of ["xfs", "btrfs", "ext4"] as const) {
  describe(kind, () => {
    test("files, directories and symlinks agree with getfattr and setfattr", async () => {
      await withFileSystem(kind, { sizeMiB: 300 }, async (root) => {
        const file = join(root, "file");
        const directory = join(root, "directory");
        const link = join(root, "link");
        writeFileSync(file, "");
        mkdirSync(directory);
        symlinkSync("file", link);
        using openedFile = openFile(file, O_RDONLY);
        using openedDirectory = openFile(directory, O_RDONLY);
        const targets: [string, XattrTarget[]][] = [
          [file, [{ path: file }, { fd: openedFile.fd }]],
          [directory, [{ path: Buffer.from(directory) }, { fd: openedDirectory.fd }]],
          [link, [{ path: link }]],
        ];
        for (const [path, ways] of targets) {
          for (const target of ways) {
            setXattr(target, name("trusted.binary"), everyByte);
            setXattr(target, name("trusted.empty"), Buffer.alloc(0));
            await runProgram("setfattr", ["--no-dereference", "-n", "trusted.theirs", "-v", "0x00ff0a", path]);
            const expected = {
              "trusted.binary": everyByte.toString("hex"),
              "trusted.empty": "",
              "trusted.theirs": "00ff0a",
            };
            assert.deepEqual(readAll(target), expected);
            assert.deepEqual(await getfattr(path), expected);
            setXattr(target, name("trusted.binary"), Buffer.from("new"));
            assert.equal((await getfattr(path))["trusted.binary"], Buffer.from("new").toString("hex"));
            for (const key of listXattrs(target)) assert.equal(removeXattr(target, key), true);
            assert.equal(removeXattr(target, name("trusted.binary")), false);
            assert.deepEqual(listXattrs(target), []);
            assert.deepEqual(await getfattr(path), {});
          }
        }
      });
    });

    test("long lists and long values, beyond the first try", async () => {
      // ext4 has one block for all attributes of a file.
      const mkfsOptions = kind === "ext4" ? ["-b", "4096"] : [];
      await withFileSystem(kind, { sizeMiB: 300, mkfsOptions }, async (root) => {
        const file = join(root, "file");
        writeFileSync(file, "");
        using opened = openFile(file, O_RDWR);
        const target = { fd: opened.fd };
        const long = Buffer.alloc(kind === "ext4" ? 1500 : 12_000, everyByte);
        const names = Array.from({ length: 15 }, (_, index) => name(`user.${"n".repeat(80)}${index}`));
        for (const key of names) setXattr(target, key, Buffer.from("v"));
        setXattr(target, name("user.long"), long);
        assert.deepEqual(listXattrs(target).toSorted(), [name("user.long"), ...names].toSorted());
        assert.ok(getXattr({ path: file }, name("user.long"))?.equals(long));
        assert.equal((await getfattr(file))["user.long"], long.toString("hex"));
      });
    });
  });
}

test("xfs: the longest value and name that Linux allows", async () => {
  await withFileSystem("xfs", { sizeMiB: 300 }, async (root) => {
    const file = join(root, "file");
    writeFileSync(file, "");
    const longest = Buffer.alloc(64 * 1024, everyByte);
    const longestName = name(`user.${"x".repeat(250)}`);
    setXattr({ path: file }, longestName, longest);
    assert.ok(getXattr({ path: file }, longestName)?.equals(longest));
    assert.equal((await getfattr(file))[longestName], longest.toString("hex"));
    assert.throws(
      () => setXattr({ path: file }, name("user.x"), Buffer.alloc(64 * 1024 + 1)),
      (error) => isErrno(error, "E2BIG"),
    );
    assert.throws(
      () => setXattr({ path: file }, name(`user.${"x".repeat(251)}`), Buffer.alloc(1)),
      (error) => isErrno(error, "ERANGE"),
    );
  });
});

test("names are bytes", async () => {
  await using folder = await makeTemporaryFolder("xattr");
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  const odd: ByteString = byteString(Buffer.from([...Buffer.from("user."), 0xff, 0x80, 0x01, 0x20]));
  setXattr({ path: file }, odd, Buffer.from("v"));
  setXattr({ path: file }, name("user.é"), Buffer.from("w"));
  assert.deepEqual(listXattrs({ path: file }).toSorted(), [name("user.é"), odd].toSorted());
  // getfattr prints what is not text in a way of its own, so perl calls listxattr itself.
  const number = process.arch === "arm64" ? 11 : 194;
  const script = `$b = "\\0" x 999; $n = syscall(${number}, $ARGV[0], $b, 999); print unpack("H*", substr $b, 0, $n)`;
  const seen = Buffer.from(await runProgram("perl", ["-e", script, file]), "hex")
    .toString("latin1")
    .split("\0");
  assert.deepEqual(seen.slice(0, -1).toSorted(), [name("user.é"), odd].toSorted());
  assert.throws(
    () => setXattr({ path: file }, name("user.a\0b"), Buffer.from("v")),
    (error) => isErrno(error, "EINVAL"),
  );
});

test("a value is not overwritten by the next one", async () => {
  await using folder = await makeTemporaryFolder("xattr");
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  setXattr({ path: file }, name("user.a"), Buffer.from("first"));
  setXattr({ path: file }, name("user.b"), Buffer.from("other"));
  const first = getXattr({ path: file }, name("user.a"));
  getXattr({ path: file }, name("user.b"));
  assert.equal(first?.toString(), "first");
});

test("what is not there, and what can't be", async () => {
  await using folder = await makeTemporaryFolder("xattr");
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  assert.equal(getXattr({ path: file }, name("user.none")), undefined);
  assert.equal(getXattr({ path: file }, name("unheard.of")), undefined);
  assert.throws(
    () => setXattr({ path: file }, name("unheard.of"), Buffer.alloc(1)),
    (error) => isErrno(error, "EOPNOTSUPP"),
  );
  const missing = { path: join(folder.path, "missing") };
  for (const action of [
    () => listXattrs(missing),
    () => getXattr(missing, name("user.a")),
    () => removeXattr(missing, name("user.a")),
  ]) {
    assert.throws(action, (error) => isErrno(error, "ENOENT") && String(error).includes(missing.path));
  }
});
