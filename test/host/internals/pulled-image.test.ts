import assert from "node:assert/strict";
import { copyFileSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { byteStringOfText } from "#base/bytes.ts";
import { withMountedImage } from "#fixtures/containers.ts";
import { type FileSystem, makeFileSystem } from "#fixtures/file-systems.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { setXattr } from "#linux/xattr.ts";
import { flipBit } from "../composefs/images.ts";
import { type PulledImage, pullHostImage } from "./pulled-image.ts";

const program = join(import.meta.dirname, "../../../bin/onehold");
const compute = ["container", "compute-composefs-digest"];
let disk: FileSystem;
let image: PulledImage;

before(async () => {
  await ensurePackages(["podman", "skopeo", "xfsprogs", "mmdebstrap"]);
  disk = await makeFileSystem("xfs", { sizeMiB: 600 });
  image = await pullHostImage(disk.mountPoint);
});
after(() => disk[Symbol.asyncDispose]());

/** The verb must succeed; what it prints. */
async function printed(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await tryOnehold(image.sysroot, args);
  assert.equal(status, 0, stderr);
  return stdout;
}

test("an image is named as a container image, as it is or as it boots", async () => {
  const { "composefs.image.v1": plain, "composefs.image.boot.v1": boots } = image.images;
  const info = async (...args: string[]) =>
    (await onehold<{ digest: string }>(image.sysroot, ["internals", "composefs", "info", ...args])).digest;
  const [listed] = await onehold<{ digest: string }[]>(image.sysroot, ["image", "list"]);
  for (const name of [image.reference, listed?.digest ?? assert.fail()]) {
    assert.equal(await info(name), plain);
    assert.equal(await info(name, "--bootable"), boots);
  }
  const at = join(image.sysroot, "mnt");
  mkdirSync(at);
  const mounted = await onehold<{ digest: string }>(image.sysroot, [
    "internals",
    "mount",
    image.reference,
    at,
    "--bootable",
  ]);
  assert.equal(mounted.digest, boots);
  await printed("internals", "umount", at);
});

test("the digest computed of what podman mounts is that of the image that boots", async () => {
  const store = join(image.sysroot, "ostree/bootc/storage");
  const dump = join(image.sysroot, "computed.dump");
  const digest = await withMountedImage(
    { additionalStore: store, image: image.name },
    `'${program}' --quiet ${compute.join(" ")} "$mounted" --write-dumpfile-to ${dump}`,
  );
  const inRepository = await printed("internals", "composefs", "dump", image.reference, "--bootable");
  assert.equal(readFileSync(dump, "utf8"), inRepository);
  assert.equal(digest, `${image.images["composefs.image.boot.v1"]}\n`);
});

test("what the rules of images pass over changes no digest, everything else does", async () => {
  const root = join(image.sysroot, "root");
  for (const name of ["usr/bin", "boot", "sysroot", "run", "etc"]) mkdirSync(join(root, name), { recursive: true });
  const file = join(root, "usr/bin/file");
  writeFileSync(file, "x".repeat(1000));
  const settle = () =>
    runProgram("find", [root, "-exec", "touch", "--no-dereference", "--date=@1700000000.5", "{}", "+"]);
  const dump = join(image.sysroot, "root.dump");
  const digest = async (...options: string[]): Promise<string> => {
    await settle();
    return (await printed("--quiet", ...compute, root, "--write-dumpfile-to", dump, ...options)).trim();
  };
  const plain = await digest("--digest", "sha256");
  const theirs = ["mkcomposefs", "--from-file", "--min-version=1", "--print-digest-only", dump];
  assert.equal((await runModern(theirs)).trim(), plain);
  const [without, whole] = [await digest(), await digest("--no-propagate-usr-to-root")];

  writeFileSync(join(root, "run/leftover"), "gone");
  writeFileSync(join(root, "boot/vmlinuz"), "kernel");
  setXattr({ path: file }, byteStringOfText("user.note"), Buffer.from("note"));
  setXattr({ path: file }, byteStringOfText("security.selinux"), Buffer.from("old_t\0"));
  await runProgram("chmod", ["0700", root]);
  assert.equal(await digest(), without);
  assert.match(readFileSync(dump, "latin1"), /^\/ 0 40755 [^]*\n\/boot 0 40755 [^]*\n\/run 0 40755/);
  assert.notEqual(await digest("--no-propagate-usr-to-root"), whole);
  assert.match(readFileSync(dump, "latin1"), /^\/ 0 40700 [^]*\n\/run\/leftover [^]*user\.note=note/);

  linkSync(file, join(root, "usr/bin/link"));
  const linked = await digest();
  assert.match(readFileSync(dump, "latin1"), /^\/usr\/bin\/link 0 @120000 - - - - 0\.0 \/usr\/bin\/file - -$/m);
  rmSync(join(root, "usr/bin/link"));
  copyFileSync(file, join(root, "usr/bin/link"));
  const copied = await digest();
  assert.notEqual(copied, linked);
  assert.notEqual(await digest("--erofs-version", "v2"), copied);

  rmSync(join(root, "sysroot"), { recursive: true });
  const refused = await tryOnehold(image.sysroot, [...compute, root]);
  assert.deepEqual([refused.status, refused.stdout], [1, ""]);
  assert.match(refused.stderr, /it has no directory \/sysroot\nhint: /);
  const running = await tryOnehold(image.sysroot, [...compute, "/"]);
  assert.equal(running.status, 2);
  assert.match(running.stderr, /the root of the running system can't be taken/);
  const missing = await tryOnehold(image.sysroot, [...compute, join(root, "none")]);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /none is not a directory\nhint: /);
});

test("objects of a digest store share their blocks with the files", async () => {
  const files = join(image.sysroot, "files");
  mkdirSync(files);
  writeFileSync(join(files, "large"), Buffer.alloc(100_000, "large"), { mode: 0o4755 });
  const store = join(image.sysroot, "store");
  await printed("internals", "composefs", "mkfs", files, join(files, "image"), "--digest-store", store);
  const [object = ""] = (await runProgram("find", [store, "-type", "f"])).trim().split("\n");
  assert.match(await runProgram("filefrag", ["-v", object]), /shared/);
  assert.equal(await runProgram("stat", ["-c", "%a %h", object]), "644 1\n");
});

interface FsckReport {
  readonly problems: readonly { readonly subject: string; readonly why: string }[];
  readonly labels: readonly {
    readonly tags: readonly string[];
    readonly files: number;
    readonly examples: readonly unknown[];
  }[];
}

test("fsck finds a flipped bit in an object, and tells of labels that are not agreed on", async () => {
  const fsck = ["internals", "composefs", "fsck"];
  const sound = await onehold<FsckReport>(image.sysroot, fsck);
  assert.deepEqual(sound.problems, []);
  const differences = {
    tags: [image.reference],
    files: 1,
    examples: [
      {
        path: "/usr/bin/exact",
        libselinux: "system_u:object_r:exact_t:s0",
        composefs: "system_u:object_r:bin_t:s0",
      },
    ],
  };
  assert.partialDeepStrictEqual(sound.labels, [differences]);
  assert.match(await printed(...fsck), /^notice: .*: 1 file would be labelled [^]*: nothing is wrong\n$/);

  const objects = await printed("internals", "composefs", "info", image.reference, "--objects");
  const [object = ""] = objects.split("\n");
  const file = join(image.sysroot, "composefs/objects", object);
  flipBit(file);
  const damaged = await tryOnehold(image.sysroot, fsck);
  assert.equal(damaged.status, 1);
  assert.match(damaged.stdout, new RegExp(`^objects/${object}: has the digest [0-9a-f]{128}$`, "m"));
  assert.match(damaged.stdout, /: 2 problems found\n$/);
  flipBit(file);
  rmSync(join(image.sysroot, "composefs/objects", object));
  const report = await tryOnehold(image.sysroot, [...fsck, "--json"]);
  assert.equal(report.status, 1);
  const { problems } = JSON.parse(report.stdout) as FsckReport;
  assert.ok(problems.every(({ why }) => /which is missing/.test(why)) && problems.length === 3, report.stdout);

  const none = await tryOnehold(image.sysroot, [...fsck, "--repo", join(image.sysroot, "none")]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /no composefs repository at .*none\nhint: /);
});
