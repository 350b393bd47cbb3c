import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import * as fc from "fast-check";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { parseCommit, serializeCommit } from "#formats/ostree-commit.ts";
import { parseDirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import type { CommitMetadataEntry } from "#formats/ostree-metadata.ts";
import { objectPath, parseChecksum, parseDirmeta, serializeDirmeta } from "#formats/ostree-objects.ts";
import { isValidRefName } from "#formats/ostree-refs.ts";
import { checksumsOf, type Child, type Directory, makeTree, plain, randomDirectory } from "./ostree-trees.ts";

before(() => ensurePackages(["ostree"]));

const empty: Directory = { kind: "directory", attributes: plain, children: [] };

async function makeRepository(folder: string): Promise<string> {
  const path = join(folder, "repo");
  await runProgram("ostree", ["init", `--repo=${path}`, "--mode=bare"]);
  await runProgram("ostree", ["config", `--repo=${path}`, "set", "core.fsync", "false"]);
  return path;
}

/** The bytes of the commit that ostree makes of the folder. */
async function commitOf(repository: string, folder: string, options: readonly string[] = []): Promise<Buffer> {
  const common = [
    `--repo=${repository}`,
    "--orphan",
    "--no-bindings",
    "--timestamp=@1700000000",
    `--tree=dir=${folder}`,
  ];
  const printed = await runProgram("ostree", ["commit", ...common, ...options]);
  return readFileSync(join(repository, "objects", objectPath(parseChecksum(printed.trim()), "commit")));
}

/** All objects of a type, as libostree wrote them. */
function objectsOf(repository: string, type: string): Buffer[] {
  const objects = join(repository, "objects");
  const paths = readdirSync(objects, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(`.${type}`));
  return paths.map((path) => readFileSync(join(objects, path)));
}

test("random trees have the checksums, and commits the bytes, that ostree gives them", async () => {
  await using folder = await makeTemporaryFolder("formats-trees");
  const repository = await makeRepository(folder.path);
  const added = ["version='1'", "n=uint32 305419896", "l=uint64 7", "b=true", "list=['a', 'b']"];
  const options = ["--subject=süß", "--body=body\nof it", ...added.map((text) => `--add-metadata=${text}`)];
  const metadata = new Map<string, CommitMetadataEntry>([
    ["version", { key: "version", type: "s", value: "1" }],
    ["n", { key: "n", type: "u", value: 305419896 }],
    ["l", { key: "l", type: "t", value: 7n }],
    ["b", { key: "b", type: "b", value: true }],
    ["list", { key: "list", type: "other", signature: "as", value: Buffer.from("a\0b\0\x02\x04", "latin1") }],
  ]);
  const seed = Date.now() % 1_000_000;
  for (const [index, directory] of fc.sample(randomDirectory(2), { seed, numRuns: 40 }).entries()) {
    const path = join(folder.path, `${index}`);
    makeTree(path, directory);
    const written = await commitOf(repository, path, options);
    const which = `tree ${index} of seed ${seed}`;
    const { tree, metadata: treeMetadata } = checksumsOf(directory);
    const found = parseCommit(written);
    assert.deepEqual([found.tree, found.treeMetadata], [tree, treeMetadata], which);
    // ostree has its own order for what it is told to add
    const inOrder = found.metadata.flatMap(({ key }) => metadata.get(key) ?? []);
    assert.equal(inOrder.length, metadata.size);
    const message = { subject: "süß", body: "body\nof it", timestamp: 1700000000 };
    assert.deepEqual(serializeCommit({ metadata: inOrder, ...message, tree, treeMetadata }), written, which);
  }
  for (const bytes of objectsOf(repository, "dirtree")) assert.deepEqual(serializeDirtree(parseDirtree(bytes)), bytes);
  for (const bytes of objectsOf(repository, "dirmeta")) assert.deepEqual(serializeDirmeta(parseDirmeta(bytes)), bytes);
  for (const bytes of objectsOf(repository, "commit")) assert.deepEqual(serializeCommit(parseCommit(bytes)), bytes);
});

test("directories whose offsets take one, two and four bytes", async () => {
  await using folder = await makeTemporaryFolder("formats-widths");
  const repository = await makeRepository(folder.path);
  for (const count of [1, 6, 7, 1600, 1640, 1700]) {
    const child: Child = { kind: "symlink", attributes: { ...plain, permissions: 0o777 }, target: "t" };
    const children = Array.from({ length: count }, (_, i) => [`${i}`.padStart(4, "0"), child] as const);
    const directory: Directory = { ...empty, children };
    const path = join(folder.path, `${count}`);
    makeTree(path, directory);
    const { tree, treeMetadata } = parseCommit(await commitOf(repository, path));
    assert.deepEqual({ tree, metadata: treeMetadata }, checksumsOf(directory), `${count} files`);
  }
});

test("the names of refs that ostree takes", async () => {
  await using folder = await makeTemporaryFolder("formats-refs");
  const repository = await makeRepository(folder.path);
  makeTree(join(folder.path, "tree"), empty);
  await runProgram("ostree", [
    "commit",
    `--repo=${repository}`,
    "--branch=b",
    `--tree=dir=${join(folder.path, "tree")}`,
  ]);
  const good = ["a", "_a", "0/1", "a-b/c.d_e", "a_3A__2F_b", "ä", "½"];
  const bad = [".a", "-a", "a/.b", "a/-b", "a//b", "a/", "a b", "a\u0301", "..", "a/.."];
  for (const [index, name] of [...good, ...bad].entries()) {
    const ref = `t${index}/${name}`;
    const { status } = await tryProgram("ostree", ["refs", `--repo=${repository}`, `--create=${ref}`, "b"]);
    assert.equal(status === 0, good.includes(name), `ostree on ${JSON.stringify(name)}`);
    assert.equal(isValidRefName(ref), good.includes(name), JSON.stringify(name));
  }
});
