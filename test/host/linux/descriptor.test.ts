import assert from "node:assert/strict";
import { constants, fstatSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { closeFd, openAt, openDirectory, openFile, owned } from "#linux/descriptor.ts";
import { isErrno, SystemError } from "#linux/system-error.ts";

const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
const O_CLOEXEC_in_proc = 0o2000000;

function flagsOf(fd: number): number {
  return Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "", 8);
}

test("names of any bytes, as other programs see them", async () => {
  await using folder = await makeTemporaryFolder("descriptor");
  using directory = openDirectory(folder.path);
  const names = [Buffer.from([0xff, 0x80, 0x0a, 0x20]), Buffer.from("é"), Buffer.alloc(255, "x")];
  for (const name of names) closeFd(openAt(directory.fd, name, O_CREAT | O_EXCL | O_WRONLY, 0o640));
  closeFd(openAt(directory.fd, "ü", O_CREAT | O_EXCL | O_WRONLY, 0o640));
  const script = 'opendir D, $ARGV[0]; print map { unpack("H*", $_) . "\\n" } sort grep { !/^\\.\\.?$/ } readdir D';
  const seen = (await runProgram("perl", ["-e", script, folder.path])).trim().split("\n");
  assert.deepEqual(seen, [...names.map((name) => name.toString("hex")), Buffer.from("ü").toString("hex")].toSorted());
});

test("descriptors are closed by an exec, those of both kinds", async () => {
  await using folder = await makeTemporaryFolder("descriptor");
  using directory = openDirectory(folder.path);
  using bare = owned(openAt(directory.fd, ".", O_RDONLY));
  for (const { fd } of [directory, bare]) assert.ok(flagsOf(fd) & O_CLOEXEC_in_proc);
});

describe("a descriptor", () => {
  test("is closed at the end of its scope, once", () => {
    const file = openFile("/dev/null", O_RDONLY);
    const { fd } = file;
    file[Symbol.dispose]();
    assert.equal(file.fd, -1);
    assert.throws(() => fstatSync(fd), { code: "EBADF" });
    using next = openFile("/dev/null", O_RDONLY);
    assert.equal(next.fd, fd);
    file[Symbol.dispose]();
    fstatSync(next.fd);
  });

  test("can be taken over", () => {
    const fd = openSync("/dev/null", "r");
    {
      using taken = owned(fd);
      assert.equal(taken.fd, fd);
    }
    assert.throws(() => fstatSync(fd), { code: "EBADF" });
  });
});

describe("a failure", () => {
  test("names the path, below its directory", async () => {
    await using folder = await makeTemporaryFolder("descriptor");
    using directory = openDirectory(folder.path);
    assert.throws(
      () => openAt(directory.fd, "none", O_RDONLY),
      (error) =>
        error instanceof SystemError && error.errnoName === "ENOENT" && error.path === join(folder.path, "none"),
    );
    assert.throws(
      () => openFile("/there/is/none", O_RDONLY),
      (error) => error instanceof SystemError && error.errnoName === "ENOENT" && error.path === "/there/is/none",
    );
  });

  test("of a file in place of a directory, and of closing twice", () => {
    assert.throws(
      () => openDirectory("/dev/null"),
      (error) => isErrno(error, "ENOTDIR"),
    );
    const fd = openSync("/dev/null", "r");
    closeFd(fd);
    assert.throws(
      () => closeFd(fd),
      (error) => isErrno(error, "EBADF"),
    );
  });
});

test("a path that C would cut short is refused", async () => {
  await using folder = await makeTemporaryFolder("descriptor");
  writeFileSync(join(folder.path, "a"), "");
  using directory = openDirectory(folder.path);
  for (const name of ["a\0b", Buffer.from("a\0b"), Buffer.from("a\0")]) {
    assert.throws(
      () => openAt(directory.fd, name, O_RDONLY),
      (error) => isErrno(error, "EINVAL"),
    );
  }
});

test("a path of 4095 bytes is the longest", async () => {
  await using folder = await makeTemporaryFolder("descriptor");
  using directory = openDirectory(folder.path);
  const fits = `${"./".repeat(2047)}.`;
  closeFd(openAt(directory.fd, fits, O_RDONLY));
  closeFd(openAt(directory.fd, Buffer.from(fits), O_RDONLY));
  for (const name of [`${fits}/`, Buffer.from(`${fits}/`), "é".repeat(2048)]) {
    assert.throws(
      () => openAt(directory.fd, name, O_RDONLY),
      (error) => isErrno(error, "ENAMETOOLONG"),
    );
  }
});
