import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import type { ByteString } from "#base/bytes.ts";
import { joinBytes } from "#base/bytes.ts";
import { LayerTreeBuilder } from "#image/layer-tree.ts";
import { mergeLayers } from "#image/merge.ts";
import type { DirectoryNode } from "#image/tree.ts";
import { impliedDirectories } from "#stores/containers-storage/inode-metadata.ts";
import { layerEntries } from "#stores/containers-storage/layer-entries.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { type ListedFile, listTree } from "#fixtures/tree-listing.ts";

/** What a user may do in a layer; the kernel turns it into whiteouts, opaque directories and copies. */
const path = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
const step = fc.oneof(
  fc.record({ verb: fc.constant("file" as const), path, mode: fc.constantFrom("644", "4755", "600") }),
  fc.record({ verb: fc.constant("directory" as const), path, mode: fc.constantFrom("755", "700", "1777") }),
  fc.record({ verb: fc.constant("symlink" as const), path, mode: fc.constant("777") }),
  fc.record({ verb: fc.constant("remove" as const), path, mode: fc.constant("") }),
  fc.record({ verb: fc.constant("chmod" as const), path, mode: fc.constantFrom("755", "711", "640") }),
);
const layers = fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { minLength: 2, maxLength: 4 });

type Step = { verb: "file" | "directory" | "symlink" | "remove" | "chmod"; path: string; mode: string };

test("merging layers gives what the kernel's overlayfs shows", { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(layers, async (steps) => {
      await using folder = await makeTemporaryFolder("merge");
      const stack: string[] = [];
      let shown: ListedFile[] = [];
      for (const [i, layer] of steps.entries()) {
        const upper = join(folder.path, `layer${i}`);
        shown = await changeRoot(folder.path, upper, stack, layer);
        stack.unshift(upper);
      }
      const trees = [];
      for (const [i, upper] of stack.toReversed().entries()) trees.push(await treeOf(upper, i));
      assert.deepEqual(describeTree(mergeLayers(trees, "as-unpacked")), shown.map(describeFile));
    }),
    { numRuns: 40 },
  );
});

/** Does the steps in an overlay of all lower layers, with `upper` as the new one; returns what is to be seen then. */
async function changeRoot(
  folder: string,
  upper: string,
  lower: readonly string[],
  steps: readonly Step[],
): Promise<ListedFile[]> {
  const [merged, work, empty] = [join(folder, "merged"), `${upper}-work`, join(folder, "empty")];
  for (const directory of [merged, work, empty, upper]) mkdirSync(directory, { recursive: true });
  const lowers = [...lower, empty].join(":");
  await runProgram("mount", [
    "-t",
    "overlay",
    "overlay",
    "-o",
    `lowerdir=${lowers},upperdir=${upper},workdir=${work},redirect_dir=off,metacopy=off,index=off`,
    merged,
  ]);
  try {
    await runProgram("sh", ["-uc", [...steps.map(command), ":"].join("\n")], { cwd: merged });
    return await listTree(merged);
  } finally {
    await runProgram("umount", [merged]);
  }
}

function command({ verb, path: target, mode }: Step): string {
  const parent = target.includes("/") ? target.slice(0, target.lastIndexOf("/")) : ".";
  switch (verb) {
    case "file":
      return `mkdir -p ${parent} 2>/dev/null; { [ ! -L ${target} ] && echo ${target}${mode} > ${target} && chmod ${mode} ${target}; } 2>/dev/null`;
    case "directory":
      return `mkdir -p ${target} 2>/dev/null; [ -d ${target} ] && [ ! -L ${target} ] && chmod ${mode} ${target}`;
    case "symlink":
      return `rm -rf ${target} 2>/dev/null; ln -s nowhere-${mode} ${target} 2>/dev/null`;
    case "remove":
      return `rm -rf ${target} 2>/dev/null`;
    case "chmod":
      return `[ -e ${target} ] && [ ! -L ${target} ] && chmod ${mode} ${target}`;
  }
}

async function treeOf(upper: string, index: number): Promise<DirectoryNode> {
  const layer = { id: "0".repeat(64), root: dirname(upper), diffPath: upper, tarSplitPath: "/nowhere" } as LayerRecord;
  const builder = new LayerTreeBuilder(index);
  for await (const entries of layerEntries(layer)) for (const entry of entries) builder.add(entry);
  return builder.finish(impliedDirectories(layer));
}

function describeTree(root: DirectoryNode): string[] {
  const lines: [ByteString, string][] = [];
  const visit = (node: DirectoryNode, at: ByteString) => {
    lines.push([at, line("directory", node.metadata.mode, 0, "")]);
    for (const [name, child] of node.children) {
      const here = joinBytes(at, name);
      if (child.kind === "directory") visit(child, here);
      else if (child.kind === "file") lines.push([here, line("file", child.metadata.mode, child.size, "")]);
      else if (child.kind === "symlink") lines.push([here, line("symlink", child.metadata.mode, 0, child.target)]);
    }
  };
  visit(root, "" as ByteString);
  return lines.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([at, text]) => `${at} ${text}`);
}

function describeFile(file: ListedFile): string {
  return `${file.path} ${line(file.type, file.mode, file.size, file.linkTarget ?? "")}`;
}

function line(type: string, mode: number, size: number, target: string): string {
  return `${type} ${(mode & 0o7777).toString(8)} ${size} ${target}`;
}
