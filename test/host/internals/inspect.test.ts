import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { bigTree } from "#fixtures/composefs-trees.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { addImage, makeRepository, type MadeImage } from "../mount/repositories.ts";
import { makeSourceTree } from "../mount/source-tree.ts";

interface Info {
  readonly format: number;
  readonly algorithm: string;
  readonly digest: string;
  readonly size: number;
  readonly inodes: Readonly<Record<string, number>>;
  readonly inline: { readonly files: number; readonly bytes: number };
  readonly external: { readonly files: number; readonly bytes: number };
  readonly objects: { readonly count: number; readonly bytes: number };
  readonly missingObjects: number | null;
}

const program = join(import.meta.dirname, "../../../bin/onehold");
const verbs = ["internals", "composefs"];
let folder: TemporaryFolder;
let source: string;
let repository: string;
let image: MadeImage;

before(async () => {
  await ensurePackages(["mmdebstrap"]);
  folder = await makeTemporaryFolder("inspect");
  source = join(folder.path, "source");
  await makeSourceTree(source);
  repository = makeRepository(join(folder.path, "composefs"));
  image = await addImage(repository, source, "deep/name");
});
after(() => folder[Symbol.asyncDispose]());

async function printed(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await tryOnehold(folder.path, [...verbs, ...args]);
  assert.equal(status, 0, stderr);
  return stdout;
}

test("a dump is that of composefs-info, and makes the image again", async () => {
  const theirs = await runModern(["composefs-info", "dump", image.file]);
  for (const name of [image.digest, "deep/name", image.file]) {
    assert.equal(await printed("dump", name, "--compat", "c"), theirs);
  }
  const script = `set -o pipefail; cd "$2"
    "$1" internals composefs dump ./"$3" | "$1" internals composefs mkfs --from-file - again --compat c --quiet
    cmp again "$3"
    for format in 0 1 2; do
      "$1" internals composefs mkfs source one --quiet --erofs-version $format
      "$1" internals composefs dump ./one >one.dump
      "$1" internals composefs mkfs --from-file one.dump two --quiet --erofs-version $format
      cmp one two
    done`;
  const relative = image.file.slice(folder.path.length + 1);
  await runProgram("bash", ["-euc", script, "bash", program, folder.path, relative]);
});

test("what is told of an image is what find, stat, fsverity and composefs-info say", async () => {
  const info = await onehold<Info>(folder.path, [...verbs, "info", image.digest]);
  const [verity] = (await runModern(["fsverity", "digest", "--compact", image.file])).trim().split(" ");
  assert.deepEqual([info.format, info.algorithm, info.digest], [0, "sha256", verity]);
  assert.equal(info.size, readFileSync(image.file).length);
  const count = async (...criteria: string[]) =>
    (await runProgram("find", [source, ...criteria, "-printf", "."])).length;
  assert.deepEqual(info.inodes, {
    directories: await count("-type", "d"),
    files: await count("-type", "f"),
    symlinks: await count("-type", "l"),
    fifos: await count("-type", "p"),
    sockets: await count("-type", "s"),
    charDevices: await count("-type", "c"),
    blockDevices: await count("-type", "b"),
  });
  assert.deepEqual(
    [info.inline.files, info.external.files],
    [await count("-type", "f", "-size", "-65c"), await count("-type", "f", "-size", "+64c")],
  );
  const sizes = (await runProgram("find", [source, "-type", "f", "-printf", "%s\n"])).trim().split("\n").map(Number);
  assert.equal(
    info.inline.bytes + info.external.bytes,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  const objects = await runModern(["composefs-info", "objects", image.file]);
  assert.equal(await printed("info", image.file, "--objects"), objects);
  assert.deepEqual([info.objects.count, info.missingObjects], [objects.trim().split("\n").length, 0]);
  assert.match(
    await printed("info", image.digest),
    /^format {5}V0\ndigest {5}sha256:[0-9a-f]{64}\nsize {7}57\.3 kB \(57344 bytes\)\n/,
  );
});

test("objects that are missing are those that composefs-info misses", async () => {
  const copy = join(folder.path, "copy");
  await runProgram("cp", ["-a", repository, copy]);
  const [, one, , two] = (await printed("info", image.file, "--objects")).split("\n");
  for (const object of [one, two]) rmSync(join(copy, "objects", object ?? assert.fail()));
  const theirs = await runModern(["composefs-info", `--basedir=${copy}/objects`, "missing-objects", image.file]);
  assert.equal(theirs, `${one}\n${two}\n`);
  assert.equal(await printed("info", image.digest, "--missing-objects", "--repo", copy), theirs);
  assert.equal(await printed("info", image.digest, "--missing-objects"), "");
  const info = await onehold<Info>(folder.path, [...verbs, "info", image.digest, "--repo", copy]);
  assert.equal(info.missingObjects, 2);
});

test("a reader that has read enough is no error", async () => {
  // More than a pipe holds.
  const large = join(folder.path, "large");
  writeFileSync(large, writeErofs(bigTree(5000), { format: 1 }));
  const script = `"$@" | head -c 10; echo " $\{PIPESTATUS[0]}"`;
  for (const args of [["dump"], ["info", "--objects"]]) {
    const out = await runProgram("bash", ["-uc", script, "bash", program, ...verbs, ...args, large]);
    assert.match(out, /^[^]{10} 0\n$/);
  }
});

test("what is no image is refused, and said how", async () => {
  const bytes = readFileSync(image.file);
  const file = (name: string, content: Buffer): string => {
    writeFileSync(join(folder.path, name), content);
    return join(folder.path, name);
  };
  const empty = join(folder.path, "empty");
  const refusals: readonly (readonly [args: readonly string[], status: number, words: RegExp])[] = [
    [
      [file("short", bytes.subarray(0, 8192))],
      1,
      /short: a composefs image is damaged: its size is not what it states/,
    ],
    [[file("text", Buffer.from("text\n"))], 1, /text: a composefs image is damaged: its size of 5 bytes/],
    [[file("nothing", Buffer.alloc(0))], 1, /nothing: a composefs image is damaged/],
    [[file("zeros", Buffer.alloc(8192))], 1, /zeros: a composefs image is damaged: it does not begin as one/],
    [[source], 1, /source is not a file, so no composefs image/],
    [[join(folder.path, "none")], 1, /there is no image file/],
    [["none"], 1, /there is no composefs image none in .*composefs/],
    [["0".repeat(64)], 1, /there is no composefs image 0{64}/],
    [[image.digest, "--bootable"], 2, /is not the tag of a container image/],
    [[image.digest, "--repo", empty], 1, /no composefs repository at .*empty/],
    [[], 2, /missing required argument 'IMAGE'/],
  ];
  for (const [index, [args, status, words]] of refusals.entries()) {
    const verb = index % 2 === 0 ? "dump" : "info";
    const ended = await tryOnehold(folder.path, [...verbs, verb, ...args]);
    assert.deepEqual([ended.status, ended.stdout], [status, ""], ended.stderr);
    assert.match(ended.stderr, words);
    assert.match(ended.stderr, /^hint: \S/m);
  }
});
