import assert from "node:assert/strict";
import { OneholdError } from "#base/errors.ts";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import type { ComposefsDirectory } from "#formats/composefs-tree.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { randomNumbers, randomTree } from "#fixtures/composefs-trees.ts";

/** Bytes of resident memory, and milliseconds for one input. */
const mostMemory = 512e6;
const mostTime = 5000;

export interface FuzzResult {
  accepted: number;
  refused: number;
}

type Random = () => number;

/** Changes images at random: each must be refused, or give a tree that an image can hold again. */
export function fuzzImages(seed: number, runs: number): FuzzResult {
  const random = randomNumbers(seed);
  const formats = [0, 1, 2] as const;
  const images = Array.from({ length: 60 }, (_, index) => {
    const format = formats[index % 3] ?? 0;
    return writeErofs(randomTree({ seed: seed + index, size: 12, large: false }), { format });
  });
  return fuzz(seed, runs, (run) => {
    const image = pick(images, random);
    const changed = Buffer.from(image);
    for (let count = 1 + below(random, 3); count > 0; count--) changeImage(changed, random);
    const tree = readErofs(run % 50 === 0 ? changed.subarray(0, below(random, changed.length)) : changed);
    const dump = writeDump(tree);
    const again = writeOrUndefined(tree, formats[changed.readUInt32LE(12)] ?? 0);
    if (again !== undefined) assert.ok(writeDump(readErofs(again)).equals(withoutNanoseconds(dump, again)));
  });
}

/** The same for dump files. */
export function fuzzDumps(seed: number, runs: number): FuzzResult {
  const random = randomNumbers(seed);
  const dumps = Array.from({ length: 60 }, (_, index) => ({
    dump: writeDump(randomTree({ seed: seed + index, size: 12, large: false, onlyC: index % 2 === 0 })),
    dialect: index % 2 === 0 ? ("c" as const) : ("rust" as const),
  }));
  return fuzz(seed, runs, () => {
    const { dump, dialect } = pick(dumps, random);
    const tree = parseDump(changeDump(dump, random), dialect);
    const again = writeDump(tree);
    assert.ok(writeDump(parseDump(again, "c")).equals(again));
  });
}

function fuzz(seed: number, runs: number, tryOne: (run: number) => void): FuzzResult {
  const result = { accepted: 0, refused: 0 };
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    try {
      tryOne(run);
      result.accepted++;
    } catch (error) {
      if (!(error instanceof OneholdError)) throw new Error(`run ${run} of seed ${seed}`, { cause: error });
      assert.ok(error.code === "corrupt" || error.code === "unsupported", `run ${run} of seed ${seed}: ${error.code}`);
      result.refused++;
    }
    const time = performance.now() - start;
    assert.ok(time < mostTime, `run ${run} of seed ${seed} took ${time} ms`);
  }
  const memory = process.resourceUsage().maxRSS * 1024;
  assert.ok(memory < mostMemory, `${memory} bytes of memory`);
  return result;
}

/** Most of an image is stubs and zeros: the rest is changed more often. */
function changeImage(image: Buffer, random: Random): void {
  let at = below(random, image.length);
  for (let tries = 0; tries < 8 && image[at] === 0; tries++) at = below(random, image.length);
  if (below(random, 6) === 0)
    at = pick([8, 12, 1036, 1038, 1040, 1048, 1060, 1068, 1104, 1152, 1154, 1156, 1160, 1168], random);
  switch (below(random, 5)) {
    case 0:
      image[at] = below(random, 256);
      break;
    case 1:
      image[at] = (image[at] ?? 0) ^ (1 << below(random, 8));
      break;
    case 2:
      image.set(pick(numbers, random).subarray(0, image.length - at), at);
      break;
    case 3: {
      const from = below(random, image.length / 32) * 32;
      image.copyWithin(at - (at % 32), from, from + 32 * (1 + below(random, 4)));
      break;
    }
    default:
      image[at] = (image[at] ?? 0) + (below(random, 2) === 0 ? 1 : -1);
  }
}

const numbers = [0, 1, 36, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0xffffffff].flatMap((value) => {
  const [two, four, eight] = [Buffer.alloc(2), Buffer.alloc(4), Buffer.alloc(8)];
  two.writeUInt16LE(value & 0xffff);
  four.writeUInt32LE(value);
  eight.writeUInt32LE(value, 4);
  return [two, four, eight];
});

function changeDump(dump: Buffer, random: Random): Buffer {
  const at = below(random, dump.length);
  switch (below(random, 6)) {
    case 0: {
      const changed = Buffer.from(dump);
      changed[at] = below(random, 256);
      return changed;
    }
    case 1:
      return Buffer.concat([dump.subarray(0, at), Buffer.from(pick(words, random)), dump.subarray(at)]);
    case 2:
      return Buffer.concat([dump.subarray(0, at), dump.subarray(at + 1 + below(random, 20))]);
    case 3: {
      const from = below(random, dump.length);
      return Buffer.concat([dump.subarray(0, at), dump.subarray(from, from + below(random, 300)), dump.subarray(at)]);
    }
    case 4: {
      const lines = dump.toString("latin1").split("\n");
      const [line = ""] = lines.splice(below(random, lines.length), 1);
      lines.splice(below(random, lines.length), 0, line);
      return Buffer.from(lines.join("\n"), "latin1");
    }
    default: {
      const lines = dump.toString("latin1").split("\n");
      const number = below(random, lines.length);
      const fields = (lines[number] ?? "").split(" ");
      fields[below(random, 13)] = pick(words, random);
      lines[number] = fields.join(" ");
      return Buffer.from(lines.join("\n"), "latin1");
    }
  }
}

const words = [
  "-",
  "@",
  " ",
  "\n",
  "\\",
  "\\x00",
  "/",
  ".",
  "0",
  "-1",
  "4294967295",
  "9007199254740993",
  "\xff",
  "=",
  "1.5",
  "",
  "@120000",
  "20644",
  "40755",
  "120777",
];

function writeOrUndefined(tree: ComposefsDirectory, format: 0 | 1 | 2): Buffer | undefined {
  try {
    return writeErofs(tree, { format, compat: "c" });
  } catch (error) {
    if (error instanceof OneholdError && error.code === "unsupported") return undefined;
    throw error;
  }
}

function withoutNanoseconds(dump: Buffer, image: Buffer): Buffer {
  if (image.readUInt32LE(12) !== 2) return dump;
  return Buffer.from(dump.toString("latin1").replaceAll(/^((?:\S+ ){7}-?\d+)\.\d+/gm, "$1.0"), "latin1");
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function pick<T>(from: readonly T[], random: Random): T {
  const value = from[below(random, from.length)];
  assert.ok(value !== undefined);
  return value;
}
