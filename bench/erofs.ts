/**
 * Composefs images of 200,000 files, against the C tools on the same dump file. Both run in processes of their own,
 * in turns, so that whatever else the machine does falls on all alike.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bigTree } from "#fixtures/composefs-trees.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { type Figure, median, renderFigure } from "./figures.ts";

const files = 200_000;
const rounds = 5;

interface Measured {
  /** Milliseconds. */
  readonly write: number;
  readonly read: number;
  /** Resident bytes at the most while writing, over those that the parsed tree takes. */
  readonly memory: number;
}

export async function measureErofs(): Promise<Figure[]> {
  await using folder = await makeTemporaryFolder("bench-erofs");
  const dump = join(folder.path, "dump");
  writeFileSync(dump, writeDump(bigTree(files)));
  const ours: Measured[] = [];
  const theirs: { write: number; read: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const [write = Number.NaN, read = Number.NaN] = (await runModern(["sh", "-euc", script, "sh", folder.path]))
      .trim()
      .split("\n")
      .map((nanoseconds) => Number(nanoseconds) / 1e6);
    theirs.push({ write, read });
    ours.push(JSON.parse(await runProgram(process.execPath, [import.meta.filename, dump])) as Measured);
  }
  const over = (what: "write" | "read") =>
    median(ours.map((measured) => measured[what])) / median(theirs.map((measured) => measured[what]));
  const memory = median(ours.map((measured) => measured.memory)) / 1e6;
  return [
    {
      what: `composefs image of ${files} files: parse and write, over mkcomposefs`,
      value: over("write"),
      unit: "×",
      most: 3,
    },
    { what: "read and check, over composefs-info dump", value: over("read"), unit: "×", most: 3 },
    { what: "memory of writing it, over the tree's own", value: memory, unit: "MB", most: 250 },
  ];
}

const script = `cd "$1"
start=$(date +%s%N); mkcomposefs --from-file dump image; end=$(date +%s%N); echo $((end - start))
start=$(date +%s%N); composefs-info dump image >/dev/null; end=$(date +%s%N); echo $((end - start))`;

function measureOnce(path: string): Measured {
  const bytes = readFileSync(path);
  const start = performance.now();
  const tree = parseDump(bytes);
  const before = process.memoryUsage.rss();
  const image = writeErofs(tree, { format: 0, compat: "c" });
  const written = performance.now();
  const memory = process.resourceUsage().maxRSS * 1024 - before;
  readErofs(image);
  return { write: written - start, read: performance.now() - written, memory };
}

if (import.meta.main) {
  const [path] = process.argv.slice(2);
  if (path === undefined) for (const figure of await measureErofs()) console.log(renderFigure(figure));
  else console.log(JSON.stringify(measureOnce(path)));
}
