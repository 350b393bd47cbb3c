import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, mountPointsBelow } from "#fixtures/temporary-folders.ts";
import { openDirectory, openFile } from "#linux/descriptor.ts";
import { openLoopDevice } from "#linux/loop-device.ts";
import {
  attachMount,
  FileSystemContext,
  longestParameter,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_RDONLY,
} from "#linux/mount-api.ts";
import { mountOf } from "#linux/mounts.ts";
import { isErrno, SystemError } from "#linux/system-error.ts";

test("a file system is mounted nowhere until it is attached, with its parameters and attributes", async () => {
  await using folder = await makeTemporaryFolder("mount-api");
  const target = join(folder.path, "a b,c:d");
  mkdirSync(target);
  using context = new FileSystemContext("tmpfs");
  context.setString("source", "what,ever");
  context.setString("size", "1m");
  context.setString("mode", "0751");
  {
    using mount = context.mount(MOUNT_ATTR_NODEV);
    writeFileSync(`/proc/self/fd/${mount.fd}/file`, "text");
    assert.deepEqual(mountPointsBelow(folder.path), []);
    attachMount(mount.fd, target);
  }
  assert.equal(readFileSync(join(target, "file"), "utf8"), "text");
  const shown = await runProgram("findmnt", ["--raw", "-no", "SOURCE,FSTYPE,OPTIONS", "--mountpoint", target]);
  assert.match(shown, /^what,ever tmpfs rw,nodev,\S*size=1024k,mode=751/);
  const { mountPoint, type } = mountOf(join(target, "file")) ?? {};
  assert.deepEqual({ mountPoint, type }, { mountPoint: target, type: "tmpfs" });
  assert.notEqual(mountOf(folder.path)?.mountPoint, target);
});

test("what is not attached goes with its descriptor", async () => {
  const count = () => readFileSync("/proc/self/mountinfo", "utf8").split("\n").length;
  const before = count();
  for (let round = 0; round < 3; round += 1) {
    using context = new FileSystemContext("tmpfs");
    context.setFlag("noswap");
    using mount = context.mount(MOUNT_ATTR_RDONLY);
    assert.throws(() => writeFileSync(`/proc/self/fd/${mount.fd}/file`, ""), { code: "EROFS" });
    assert.equal(count(), before);
  }
});

test("a failure has the kernel's own words", () => {
  const failing = (type: string, configure: (context: FileSystemContext) => void): SystemError => {
    try {
      using context = new FileSystemContext(type);
      configure(context);
    } catch (error) {
      if (error instanceof SystemError) return error;
      throw error;
    }
    throw new Error("it did not fail");
  };
  const unknown = failing("tmpfs", (context) => context.setString("nonsense", "1"));
  assert.match(
    unknown.message,
    /^fsconfig tmpfs nonsense=1: invalid argument \(EINVAL\): tmpfs: Unknown parameter 'nonsense'$/,
  );
  const bad = failing("tmpfs", (context) => context.setString("mode", "abc"));
  assert.match(bad.message, /^fsconfig tmpfs mode=abc: invalid argument \(EINVAL\): tmpfs: Bad value for 'mode'$/);
  assert.ok(
    isErrno(
      failing("no-such-type", () => {}),
      "ENODEV",
    ),
  );
  const long = failing("tmpfs", (context) => context.setString("source", "x".repeat(longestParameter + 1)));
  assert.ok(isErrno(long, "EINVAL"));
  using context = new FileSystemContext("tmpfs");
  context.setString("source", "x".repeat(longestParameter));
  using mount = context.mount(0);
  assert.throws(
    () => attachMount(mount.fd, "/there/is/none"),
    (error) => isErrno(error, "ENOENT") && String(error).includes("/there/is/none"),
  );
});

test("a loop device shows a file, can't be written, and is free when it is closed", async () => {
  await using folder = await makeTemporaryFolder("loop");
  const path = join(folder.path, "file");
  writeFileSync(path, Buffer.alloc(8192, "content"));
  using file = openFile(path, 0);
  const backing = async () =>
    runProgram("losetup", ["--list", "--noheadings", "--output", "NAME,RO", "--associated", path]);
  {
    using first = openLoopDevice(file.fd);
    using second = openLoopDevice(file.fd);
    assert.notEqual(first.path, second.path);
    const lines = (await backing())
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/\s+/).join(" "));
    assert.deepEqual(lines.toSorted(), [`${first.path} 1`, `${second.path} 1`].toSorted());
    assert.deepEqual(readFileSync(first.path), readFileSync(path));
  }
  assert.equal(await backing(), "");
  using folderFile = openDirectory(folder.path);
  assert.throws(
    () => openLoopDevice(folderFile.fd),
    (error) => isErrno(error, "EINVAL"),
  );
  const open = readdirSync("/proc/self/fd").length;
  assert.throws(() => openLoopDevice(folderFile.fd));
  assert.equal(readdirSync("/proc/self/fd").length, open);
});
