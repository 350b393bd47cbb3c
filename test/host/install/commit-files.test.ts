import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { parseChecksum } from "#formats/ostree-objects.ts";
import { openInRoot } from "#linux/beneath.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { CommitFiles } from "#stores/ostree/commit-files.ts";
import { openRepository } from "#stores/ostree/repository.ts";

/** What the kernel finds at a path of a directory that is the root. */
function kernelFinds(root: string, path: string): string {
  using directory = openDirectory(root);
  try {
    using found = openInRoot(directory.fd, path, fs.constants.O_RDONLY);
    if (!fs.fstatSync(found.fd).isDirectory()) return `file ${fs.readFileSync(found.fd, "utf8")}`;
    return `directory ${fs.readdirSync(`/proc/self/fd/${found.fd}`).toSorted().join(" ")}`;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return "nothing";
    if (isErrno(error, "ELOOP")) return "loop";
    throw error;
  }
}

function commitHas(files: CommitFiles, path: ByteString): string {
  try {
    const found = files.find(path);
    if (found === undefined) return "nothing";
    if (found.kind === "file") return `file ${files.read(path, 1000).toString("utf8")}`;
    return `directory ${files.list(path).join(" ")}`;
  } catch (error) {
    if (error instanceof Error && /symlinks are on the way/.test(error.message)) return "loop";
    throw error;
  }
}

test("paths of a commit lead where the kernel finds them in a checkout", { timeout: 60_000 }, async () => {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % below;
  };
  const pick = <T>(from: readonly T[], otherwise: T): T => from[random(from.length)] ?? otherwise;
  await using folder = await makeTemporaryFolder("commit-files");
  const tree = join(folder.path, "tree");
  const names = ["a", "b", "c", "d"];
  const path = (depth: number) =>
    Array.from({ length: 1 + random(depth) }, () => pick([...names, "..", "."], "a")).join("/");
  const fill = (place: string, depth: number): void => {
    fs.mkdirSync(place);
    for (const name of names) {
      const kind = random(5);
      if (kind === 0 || (kind === 1 && depth === 0)) fs.writeFileSync(join(place, name), `${place}/${name}`);
      else if (kind === 1 || kind === 2) fs.symlinkSync(`${pick(["/", "", "../"], "")}${path(3)}`, join(place, name));
      else if (depth > 0) fill(join(place, name), depth - 1);
    }
  };
  fill(tree, 3);
  const repository = join(folder.path, "repo");
  await runProgram("ostree", [`--repo=${repository}`, "init", "--mode=bare"]);
  const commit = await runProgram("ostree", [`--repo=${repository}`, "commit", "--branch=test", tree]);
  const files = new CommitFiles(openRepository(repository), parseChecksum(commit.trim()));
  const seen = new Set<string>();
  for (let i = 0; i < 3000; i += 1) {
    const asked = path(6);
    const expected = kernelFinds(tree, asked);
    assert.equal(commitHas(files, byteStringOfText(asked)), expected, `SEED=${seed}: ${asked}`);
    seen.add(expected.split(" ")[0] ?? "");
  }
  assert.ok(seen.has("file") && seen.has("directory") && seen.has("nothing"), `SEED=${seed}: ${[...seen].join()}`);
});
