import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { runModern } from "#fixtures/modern-chroot.ts";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, mountPointsBelow, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { addImage, comparable, makeRepository, type MadeImage } from "./repositories.ts";
import { makeSourceTree } from "./source-tree.ts";

interface MountReport {
  readonly directory: string;
  readonly digest?: string;
  readonly verity: boolean;
  readonly backing: "file" | "loop-device";
  readonly probed?: string;
}

let folder: TemporaryFolder;
let sysroot: string;
let source: string;
let image: MadeImage;
let places = 0;

before(async () => {
  folder = await makeTemporaryFolder("mount");
  sysroot = folder.path;
  source = join(sysroot, "source");
  await makeSourceTree(source);
  image = await addImage(makeRepository(join(sysroot, "composefs")), source, "deep/first");
});
after(() => folder[Symbol.asyncDispose]());

function place(): string {
  const path = join(sysroot, `mnt ${(places += 1)}`);
  mkdirSync(path);
  return path;
}

const mount = (...args: string[]): Promise<MountReport> => onehold(sysroot, ["internals", "mount", ...args]);
const umount = (path: string): Promise<unknown> => onehold(sysroot, ["internals", "umount", path]);

/** Mounts of ours, loop devices of our files, whether seen or detached. */
async function leftovers(): Promise<string[]> {
  const loops = await runProgram("losetup", ["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
  return [...mountPointsBelow(sysroot), ...loops.split("\n").filter((line) => line.includes(sysroot))];
}

test("an image is mounted by its digest, shows the tree that it was made of, and leaves nothing", async () => {
  const expected = await comparable(source);
  assert.ok(expected.length > 330 && expected.some((file) => file.xattrs !== undefined));
  const at = place();
  const { probed, ...report } = await mount(image.digest, at);
  assert.ok(probed !== undefined);
  assert.deepEqual(report, { directory: at, digest: image.digest, verity: false, backing: "file" });
  // What was read has more than 64 bytes, so it is in an object.
  assert.ok(statSync(join(source, probed)).size > 64, probed);
  assert.deepEqual(await comparable(at), expected);
  // The EROFS mount is nobody's to see; its table entry would be the second.
  assert.deepEqual(await leftovers(), [at]);
  const options = await runProgram("findmnt", ["-no", "SOURCE,VFS-OPTIONS,FS-OPTIONS", at]);
  assert.match(options, new RegExp(`^composefs:${image.digest} +ro,nosuid,nodev\\S* +ro,.*metacopy=on`));
  assert.throws(() => writeFileSync(join(at, "new"), ""), { code: "EROFS" });
  await umount(at);
  assert.deepEqual(await leftovers(), []);
});

test("by a ref, from another repository, as a file; of format version 1, too", async () => {
  const repository = makeRepository(join(sysroot, "other"));
  const tree = join(sysroot, "other-tree");
  mkdirSync(tree);
  writeFileSync(join(tree, "file"), "y".repeat(5000));
  const other = await addImage(repository, tree, "deep/name", ["--min-version=1"]);
  assert.equal(readFileSync(other.file).readUInt32LE(12), 1);
  const ways: [name: string, options: string[], digest: string | undefined][] = [
    ["deep/name", [], other.digest],
    ["deep/name", ["--digest", other.digest], other.digest],
    [other.file, ["--digest", other.digest], other.digest],
    [other.file, [], undefined],
  ];
  for (const [name, options, expected] of ways) {
    const at = place();
    const { digest } = await mount(name, at, "--repo", repository, ...options);
    assert.equal(digest, expected);
    assert.deepEqual(await comparable(at), await comparable(tree));
    await umount(at);
  }
});

test("objects may be in a folder that is no repository, for an image that is in none", async () => {
  const bare = join(sysroot, "bare");
  mkdirSync(bare);
  await runModern(["cp", "-a", join(sysroot, "composefs/objects"), image.file, bare]);
  const at = place();
  const file = join(bare, image.digest.slice(2));
  const { verity, digest } = await mount(file, at, "--repo", bare, "--digest", image.digest);
  assert.deepEqual([verity, digest], [false, image.digest]);
  assert.deepEqual(await comparable(at), await comparable(source));
  await umount(at);
});

test("hardlinks are links of one file", async () => {
  const dump = await runModern(["composefs-info", "dump", image.file]);
  const lines = dump.split("\n").map((line) => line.replace(/^(\/at-the-root \S+ \S+) 1 /, "$1 2 "));
  assert.ok(lines.some((line) => line.startsWith("/at-the-root 1000 100644 2 ")));
  lines.splice(1, 0, "/a-link 0 @120000 - - - - 0.0 /at-the-root - -");
  const dumpFile = join(sysroot, "dump");
  writeFileSync(dumpFile, lines.join("\n"));
  const linked = await addImage(join(sysroot, "composefs"), dumpFile, "deep/linked", ["--from-file"]);
  const at = place();
  await mount(linked.digest, at);
  const [first, second] = [statSync(join(at, "at-the-root")), statSync(join(at, "a-link"))];
  assert.deepEqual([first.ino, first.nlink, second.nlink], [second.ino, 2, 2]);
  assert.deepEqual(readFileSync(join(at, "a-link")), readFileSync(join(source, "at-the-root")));
  await umount(at);
});

test("an image of small files has no objects to look for", async () => {
  const tree = join(sysroot, "small-tree");
  mkdirSync(tree);
  writeFileSync(join(tree, "file"), "small");
  const small = await addImage(join(sysroot, "composefs"), tree, "deep/small");
  const at = place();
  assert.equal((await mount(small.digest, at)).probed, undefined);
  assert.equal(readFileSync(join(at, "file"), "utf8"), "small");
  await umount(at);
});

test("several at a time, one over the other too; each is unmounted by itself", async () => {
  const [first, second] = [place(), place()];
  await Promise.all([mount(image.digest, first), mount("deep/small", second)]);
  await mount(image.digest, second);
  assert.deepEqual((await leftovers()).toSorted(), [first, second, second].toSorted());
  const content = readFileSync(join(source, "usr/size-300000"));
  for (const at of [first, second]) assert.deepEqual(readFileSync(join(at, "usr/size-300000")), content);
  await umount(second);
  assert.equal(readFileSync(join(second, "file"), "utf8"), "small");
  await umount(first);
  assert.equal(readFileSync(join(second, "file"), "utf8"), "small");
  await umount(second);
  assert.deepEqual(await leftovers(), []);
});

test("a file that the kernel can't mount goes by a loop device, which goes with the mount", async () => {
  const memory = place();
  await runProgram("mount", ["-t", "tmpfs", "tmpfs", memory]);
  const file = join(memory, "image");
  writeFileSync(file, readFileSync(image.file));
  const at = place();
  assert.equal((await mount(file, at, "--digest", image.digest)).backing, "loop-device");
  assert.equal((await leftovers()).length, 3);
  assert.deepEqual(await comparable(at), await comparable(source));
  await umount(at);
  // The device goes with the last mount namespace that has a copy of the mount: other tests make some, briefly.
  for (let tries = 0; (await tryProgram("umount", [memory])).status !== 0; tries++) {
    assert.ok(tries < 100, "the loop device is still there");
    await setTimeout(300);
  }
  assert.deepEqual(await leftovers(), []);
});

test("objects may be in a folder with any path, of any length", async () => {
  const repository = join(sysroot, "a:b,c\\d=é", ...Array.from({ length: 5 }, () => "n".repeat(100)));
  makeRepository(repository);
  const tree = join(sysroot, "other-tree");
  const { digest } = await addImage(repository, tree, "deep/name");
  for (const repo of [repository, join(sysroot, "a:b,c\\d=é")]) {
    if (repo !== repository)
      await runModern(["cp", "-a", ...["objects", "images", "meta.json"].map((name) => join(repository, name)), repo]);
    const at = place();
    await mount(digest, at, "--repo", repo);
    assert.equal(readFileSync(join(at, "file"), "utf8"), "y".repeat(5000));
    await umount(at);
  }
});

test("the mount is seen where the caller is: in its own mount namespace", async () => {
  const at = place();
  const script = `"$@" >/dev/null && findmnt -no SOURCE ${JSON.stringify(at)}`;
  const ended = await tryOnehold(sysroot, ["internals", "mount", image.digest, at], {
    prefix: ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"],
  });
  assert.equal(ended.stdout.trim(), `composefs:${image.digest}`, ended.stderr);
  assert.deepEqual(await leftovers(), []);
});

test("what another program mounted as composefs is unmounted too", async () => {
  const at = place();
  await runProgram("mount", [
    "-t",
    "overlay",
    "-o",
    `ro,lowerdir=${source}:${join(sysroot, "small-tree")}`,
    "composefs",
    at,
  ]);
  await umount(at);
  assert.deepEqual(await leftovers(), []);
});
