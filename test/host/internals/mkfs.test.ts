import assert from "node:assert/strict";
import { cpSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { randomTree } from "#fixtures/composefs-trees.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { tryOnehold } from "#fixtures/onehold.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { describeEnd, runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import { newSeed } from "../../unit/formats/mutations.ts";
import { makeSourceTree } from "../mount/source-tree.ts";

const program = join(import.meta.dirname, "../../../bin/onehold");
let folder: TemporaryFolder;
let source: string;

before(async () => {
  await ensurePackages(["mmdebstrap"]);
  folder = await makeTemporaryFolder("mkfs");
  source = join(folder.path, "source");
  await makeSourceTree(source);
});
after(() => folder[Symbol.asyncDispose]());

/** What the verb prints; it must succeed. */
async function mkfs(...args: string[]): Promise<string> {
  const ended = await tryOnehold(folder.path, ["internals", "composefs", "mkfs", ...args]);
  if (ended.status !== 0) throw new Error(`mkfs ${args.join(" ")}: ${describeEnd(ended)}`);
  return ended.stdout;
}

async function made(...args: string[]): Promise<{ format: number; newObjects: number | null }> {
  return JSON.parse(await mkfs(...args, "--json")) as { format: number; newObjects: number | null };
}

const at = (name: string): string => join(folder.path, name);
const read = (name: string): Buffer => readFileSync(at(name));

test("of a directory, the image and objects are mkcomposefs's", async () => {
  await runModern([
    "sh",
    "-euc",
    `cd "$1"
    mkcomposefs --print-digest --digest-store=theirs source default >digest
    for format in 0 1; do mkcomposefs --min-version=$format --max-version=$format source $format; done`,
    "sh",
    folder.path,
  ]);
  const digest = await mkfs(source, at("ours"), "--compat", "c", "--print-digest", "--quiet");
  assert.equal(digest, read("digest").toString());
  assert.ok(read("ours").equals(read("default")));
  for (const format of ["0", "1"]) {
    await mkfs(source, at("ours"), "--compat", "c", "--erofs-version", format);
    assert.ok(read("ours").equals(read(format)), `format ${format}`);
  }
  const stored = await made(source, at("ours"), "--compat", "c", "--digest-store", at("objects"));
  assert.ok(read("ours").equals(read("default")));
  await runProgram("diff", ["-r", at("theirs"), at("objects")]);
  const objects = readdirSync(at("objects"), { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  assert.equal(stored.newObjects, objects.length);
  for (const { parentPath, name } of objects) {
    const { mode, nlink } = lstatSync(join(parentPath, name));
    assert.deepEqual([mode & 0o7777, nlink], [0o644, 1]);
  }
  const again = await mkfs(source, at("ours"), "--compat", "c", "--digest-store", at("objects"));
  assert.match(again, /^Made .*ours: V0, 57\.3 kB, sha256:[0-9a-f]{64}; 0 new objects\n$/);
  assert.deepEqual(
    readdirSync(at("objects")).filter((name) => name.startsWith(".")),
    [],
  );
});

test("a directory with whiteouts makes format 1, as with mkcomposefs", async () => {
  const tree = at("whiteouts");
  cpSync(join(source, "usr/a b"), tree, { recursive: true });
  await runProgram("mknod", [join(tree, "gone"), "c", "0", "0"]);
  await runModern(["mkcomposefs", tree, at("theirs-whiteouts")]);
  const { format } = await made(tree, at("ours"), "--compat", "c");
  assert.equal(format, 1);
  assert.ok(read("ours").equals(read("theirs-whiteouts")));
});

test("of dump files, from a file and from stdin, the image is mkcomposefs's", async (t) => {
  const seed = newSeed();
  t.diagnostic(`seed ${seed}`);
  for (let index = 0; index < 3; index++) {
    writeFileSync(at(`${index}.dump`), writeDump(randomTree({ seed: seed + index, onlyC: true })));
  }
  await runModern([
    "sh",
    "-euc",
    'cd "$1"; for n in 0 1 2; do mkcomposefs --from-file $n.dump $n.theirs; done',
    "sh",
    folder.path,
  ]);
  const piped = '"$1" internals composefs mkfs --from-file - /dev/stdout --compat c --quiet <"$2" | cat >"$3"';
  for (let index = 0; index < 3; index++) {
    await mkfs("--from-file", at(`${index}.dump`), at("ours"), "--compat", "c");
    assert.ok(read("ours").equals(read(`${index}.theirs`)), `tree of seed ${seed + index}`);
    await runProgram("bash", ["-o", "pipefail", "-euc", piped, "sh", program, at(`${index}.dump`), at("piped")]);
    assert.ok(read("piped").equals(read(`${index}.theirs`)), `tree of seed ${seed + index}, by pipes`);
  }
});

test("hardlinks are kept as composefs-rs keeps them", async () => {
  const tree = at("links");
  mkdirSync(join(tree, "below"), { recursive: true });
  writeFileSync(join(tree, "b"), "x".repeat(1000));
  linkSync(join(tree, "b"), join(tree, "below/a"));
  linkSync(join(tree, "b"), join(tree, "c"));
  symlinkSync("b", join(tree, "symlink"));
  linkSync(join(tree, "symlink"), join(tree, "symlink2"));
  for (const format of ["1", "2"]) {
    await mkfs(tree, at("ours"), "--erofs-version", format, "--digest", "sha256");
    const { stdout } = await tryOnehold(folder.path, ["internals", "composefs", "dump", at("ours")]);
    const lines = stdout.split("\n").map((line) => line.split(" "));
    const links = lines
      .filter(([, , mode]) => mode?.startsWith("@"))
      .map(([path, , , , , , , , target]) => [path, target]);
    assert.deepEqual(links, [
      ["/below/a", "/b"],
      ["/c", "/b"],
      ["/symlink2", "/symlink"],
    ]);
    const [verity] = (await runModern(["fsverity", "digest", "--compact", join(tree, "b")])).trim().split(" ");
    assert.equal(lines.find(([path]) => path === "/b")?.[10], verity);
  }
});

test("an image is replaced as a whole, through a symlink too", async () => {
  writeFileSync(at("before"), "before");
  symlinkSync("before", at("link"));
  await mkfs(source, at("link"));
  assert.ok(lstatSync(at("link")).isSymbolicLink());
  assert.ok(read("before").length > 4096);
});

const refusals: readonly (readonly [args: readonly string[], status: number, words: RegExp])[] = [
  [["nowhere", "x"], 1, /nowhere is not a directory/],
  [["source", "."], 2, /\. is a directory, where a file is to be written/],
  [["source", "nowhere/x"], 1, /nowhere is not a directory/],
  [["source/at-the-root", "x"], 2, /is a file, not a directory\nhint: With --from-file/],
  [["--from-file", "source", "x"], 2, /source is a directory, no dump file/],
  [["--from-file", "nowhere", "x"], 1, /there is no dump file nowhere/],
  [["--from-file", "source/at-the-root", "x"], 1, /source\/at-the-root: line 1 of a dump file ends before/],
  [["--from-file", "/dev/null", "x"], 1, /a dump file is empty/],
  [["source", "x", "--digest-store", "source/at-the-root"], 1, /is not a directory, so objects can't go there/],
  [["source", "x", "--digest-store", "s", "--from-file"], 2, /cannot be used with/],
  [["source", "x", "--print-digest", "--json"], 2, /cannot be used with/],
  [["source", "x", "--erofs-version", "3"], 2, /Allowed choices are 0, 1, 2/],
  [["source"], 2, /missing required argument 'IMAGE'/],
];

test("what can't be, is refused before anything is written", async () => {
  const present = readdirSync(folder.path);
  for (const [args, status, words] of refusals) {
    const ended = await tryProgram(program, ["internals", "composefs", "mkfs", ...args], { cwd: folder.path });
    assert.equal(ended.status, status, ended.stderr);
    assert.match(ended.stderr, words);
    assert.match(ended.stderr, /^hint: \S/m);
    assert.equal(ended.stdout, "");
  }
  assert.deepEqual(readdirSync(folder.path), present);
});
