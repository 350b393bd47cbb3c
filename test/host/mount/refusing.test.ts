import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { runModern } from "#fixtures/modern-chroot.ts";
import { tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, mountPointsBelow, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { addImage, makeRepository, type MadeImage } from "./repositories.ts";

let folder: TemporaryFolder;
let sysroot: string;
let repository: string;
let image: MadeImage;
let at: string;

before(async () => {
  folder = await makeTemporaryFolder("refusing");
  sysroot = folder.path;
  repository = makeRepository(join(sysroot, "composefs"));
  const tree = join(sysroot, "tree");
  for (const path of [tree, join(tree, "sub")]) mkdirSync(path);
  writeFileSync(join(tree, "sub/file"), "y".repeat(5000));
  image = await addImage(repository, tree, "deep/name");
  at = join(sysroot, "mnt");
  mkdirSync(at);
});
after(() => folder[Symbol.asyncDispose]());

/** The verb fails, with words that match; nothing is mounted that was not before. */
async function refuses(args: readonly string[], words: RegExp): Promise<void> {
  const mounts = mountPointsBelow(sysroot);
  const { status, stdout, stderr } = await tryOnehold(sysroot, ["internals", ...args]);
  assert.deepEqual([status, stdout], [1, ""], stderr);
  assert.match(stderr, words);
  assert.match(stderr, /^hint: [A-Z]/m);
  assert.deepEqual(mountPointsBelow(sysroot), mounts);
  const loops = await runProgram("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"]);
  assert.ok(!loops.includes(sysroot), loops);
}

/** A copy of the image with some bytes changed. */
function damaged(name: string, change: (bytes: Buffer) => Buffer | void): string {
  const bytes = readFileSync(image.file);
  const path = join(sysroot, name);
  writeFileSync(path, change(bytes) ?? bytes);
  return path;
}

test("an image that is not there", async () => {
  const absent = [
    "0".repeat(64),
    "0".repeat(128),
    image.digest.toUpperCase(),
    "no/ref",
    "deep",
    "deep//name",
    "",
    "x".repeat(300),
  ];
  for (const name of absent) await refuses(["mount", name, at], /there is no composefs image .* in .*composefs/);
  for (const name of ["../images", `../${image.digest}`, "/there/is/none"]) {
    await refuses(["mount", name, at], /there is no image file/);
  }
  const repo = join(sysroot, "no-repository");
  await refuses(["mount", image.digest, at, "--repo", repo], /no composefs repository at .*no-repository/);
  await refuses(["mount", image.file, at, "--repo", repo], /no folder of objects at .*objects/);
});

test("an image that is not what its name, or the user, says", async () => {
  const otherDigit = (digit: string): string => (digit === "0" ? "1" : "0");
  const wrong = image.digest.replace(/^./, otherDigit);
  await refuses(["mount", image.digest, at, "--digest", wrong], new RegExp(`digest is ${image.digest}, not ${wrong}`));
  await refuses(["mount", image.file, at, "--digest", "0".repeat(128)], /digest is [0-9a-f]{128}, not 0{128}/);
  const object = join(repository, "objects", wrong.slice(0, 2));
  mkdirSync(object, { recursive: true });
  writeFileSync(join(object, wrong.slice(2)), readFileSync(image.file));
  symlinkSync(`../objects/${wrong.slice(0, 2)}/${wrong.slice(2)}`, join(repository, "images", wrong));
  await refuses(["mount", wrong, at], new RegExp(`digest is ${image.digest}, not ${wrong}`));
  // One name for another's object.
  const third = image.digest.replace(/.$/, otherDigit);
  symlinkSync(`../objects/${image.digest.slice(0, 2)}/${image.digest.slice(2)}`, join(repository, "images", third));
  await refuses(["mount", third, at], /is a link to something else/);
});

test("links that lead elsewhere", async () => {
  const targets = {
    absolute: image.file,
    outside: "../../../tree/sub/file",
    loop: "loop",
    nothing: `../${"0".repeat(64)}`,
  };
  for (const [name, target] of Object.entries(targets)) {
    symlinkSync(target, join(repository, "images/refs", name));
    await refuses(["mount", name, at], /is a link to something else/);
  }
  const digest = "e".repeat(64);
  symlinkSync("../../tree/sub/file", join(repository, "images", digest));
  await refuses(["mount", digest, at], /no composefs image/);
});

test("a damaged image, and what is none", async () => {
  const noMagic = damaged("no-magic", (bytes) => void bytes.writeUInt32LE(0, 1024));
  const feature = damaged("feature", (bytes) => void bytes.writeUInt32LE(0x8000_0000, 1024 + 80));
  const badRoot = damaged("bad-root", (bytes) => void bytes.writeUInt16LE(0xffff, 1024 + 14));
  const short = damaged("short", (bytes) => bytes.subarray(0, 1500));
  const empty = damaged("empty", () => Buffer.alloc(0));
  for (const file of [noMagic, feature, badRoot, short, empty]) {
    await refuses(
      ["mount", file, at, "--repo", repository],
      /the kernel (takes .* for no valid EROFS image: fsconfig erofs|can't read the tree of image .*): /,
    );
  }
  await refuses(["mount", join(sysroot, "tree"), at], /is not a file, so no composefs image/);
});

test("objects that are missing", async () => {
  await refuses(["mount", image.file, at, "--repo", sysroot], /no folder of objects at .*objects/);
  const empty = makeRepository(join(sysroot, "empty-repository"));
  await refuses(
    ["mount", image.file, at, "--repo", empty],
    /the file \/sub\/file of image .* can't be read: its object [0-9a-f]{2}\/[0-9a-f]{62} is missing/,
  );
  // An object that can't be opened: a folder in its place.
  const object = (await runModern(["composefs-info", "objects", image.file])).trim();
  mkdirSync(join(empty, "objects", object), { recursive: true });
  await refuses(["mount", image.file, at, "--repo", empty], /the kernel refuses its object/);
});

test("a directory to mount at that is none", async () => {
  await refuses(["mount", image.digest, join(sysroot, "nowhere")], /nowhere is not a directory/);
  await refuses(["mount", image.digest, image.file], /is not a directory/);
});

test("unmounting what is no composefs mount, or is in use", async () => {
  await refuses(["umount", join(sysroot, "nowhere")], /nowhere is not a directory/);
  await refuses(["umount", at], /no composefs image is mounted there/);
  await runProgram("mount", ["-t", "tmpfs", "tmpfs", at]);
  await refuses(["umount", at], /no composefs image is mounted there/);
  await runProgram("umount", [at]);
  const mounted = await tryOnehold(sysroot, ["internals", "mount", image.digest, at]);
  assert.equal(mounted.status, 0, mounted.stderr);
  await refuses(["umount", join(at, "sub")], /it is within the mount at .*mnt/);
  {
    using _ = openDirectory(join(at, "sub"));
    await refuses(["umount", at], /can't unmount .*: a program uses a file or folder in it/);
  }
  // By another name for the same place.
  symlinkSync("mnt", join(sysroot, "symlink"));
  const ended = await tryOnehold(sysroot, ["internals", "umount", join(sysroot, "symlink")]);
  assert.equal(ended.status, 0, ended.stderr);
  assert.deepEqual(mountPointsBelow(sysroot), []);
});
