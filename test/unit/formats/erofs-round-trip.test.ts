import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { byteStringOfText } from "#base/bytes.ts";
import { randomTree } from "#fixtures/composefs-trees.ts";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { newSeed } from "./mutations.ts";

const seed = newSeed();
const formats = [0, 1, 2] as const;
const root = "/ 0 40755 2 0 0 0 0.0 - - -\n";

const read = (dump: string, format: 0 | 1 | 2) =>
  writeDump(readErofs(writeErofs(parseDump(Buffer.from(dump), "c"), { format }))).toString("latin1");

describe("an image is read as the tree that it was written from", () => {
  for (const format of formats) {
    for (const digestLength of [32, 64] as const) {
      test(`at random, format ${format}, digests of ${digestLength} bytes`, (t) => {
        t.diagnostic(`seed ${seed}`);
        for (let index = 0; index < 15; index++) {
          const tree = randomTree({ seed: seed + index, digestLength });
          const written = writeDump(tree).toString("latin1");
          // Format 2 has no nanoseconds.
          const expected = format === 2 ? written.replaceAll(/^((?:\S+ ){7}\d+)\.\d+/gm, "$1.0") : written;
          const found = writeDump(readErofs(writeErofs(tree, { format }))).toString("latin1");
          assert.ok(found === expected, `tree of seed ${seed + index}`);
        }
      });
    }
  }

  test("a file with a digest of either length, without one, without a path, and empty", () => {
    const digest = "ab".repeat(64);
    const lines = `${root}/a 70 100644 1 0 0 0 0.0 ab/${digest.slice(2)} - ${digest}
/b 70 100644 1 0 0 0 0.0 ab/${digest.slice(2, 64)} - ${digest.slice(64)}
/c 70 100644 1 0 0 0 0.0 some/path - -
/d 70 100644 1 0 0 0 0.0 - - -
/e 0 100644 1 0 0 0 0.0 - - -
`;
    for (const format of formats) assert.equal(read(lines, format), lines, `format ${format}`);
  });

  test("names on either side of the dots, whiteouts at names of stubs, xattrs of overlayfs", () => {
    const lines = `/ 0 40755 4 0 0 0 5.0 - - - trusted.overlay.redirect=y user.overlay.redirect=y
/!a 0 100644 1 0 0 0 5.0 - - -
/-- 0 100644 1 0 0 0 5.0 - - -
/... 0 100644 1 0 0 0 5.0 - - -
/.a 0 100644 1 0 0 0 5.0 - - - trusted.overlay.metacopy= trusted.overlay.overlay.x=1 trusted.overlay.redirect=/x
/a0 0 20600 1 0 0 0 5.0 - - -
/d 0 40755 2 0 0 0 5.0 - - - trusted.overlay.x=1
/d/w 0 20644 1 0 0 0 5.0 - - - user.a=b
/e 0 40755 2 0 0 0 5.0 - - - trusted.overlay.opaque=x user.overlay.opaque=y
/ff 0 100644 1 0 0 0 5.0 - - -
`;
    for (const format of formats) assert.equal(read(lines, format), lines, `format ${format}`);
  });

  test("times before 1970, in a tree of no others and with others", () => {
    for (const second of ["-7.3", "5.0"]) {
      const lines = `/ 0 40755 2 0 0 0 -5.0 - - -\n/f 0 100644 1 0 0 0 ${second} - - -\n/g 0 100644 1 0 0 0 -6.9 - - -\n`;
      for (const format of [0, 1] as const) assert.equal(read(lines, format), lines, `format ${format}`);
    }
  });
});

test("what marks the directory of a whiteout takes the place of its own xattrs of that name", () => {
  const line = (xattrs: string) =>
    `${root.replace(" 2 ", " 3 ")}/d 0 40755 2 0 0 0 5.0 - - -${xattrs}\n/d/w 0 20644 1 0 0 0 5.0 - - -\n`;
  const lines = line(" trusted.overlay.opaque=own user.overlay.whiteouts=own");
  assert.equal(read(lines, 0), line(" trusted.overlay.opaque=own"));
  assert.equal(read(lines, 1), line(""));
  assert.equal(read(lines, 2), lines);
});

test("a file with the xattr of a whiteout is one in formats 0 and 1, if it is empty", () => {
  const full = `${root}/f 1 100644 1 0 0 0 0.0 - x - trusted.overlay.whiteout=\n`;
  for (const format of formats) assert.equal(read(full, format), full, `format ${format}`);
  const empty = `${root}/f 0 100644 1 0 0 0 0.0 - - - trusted.overlay.whiteout=\n`;
  for (const format of [0, 1] as const) assert.equal(read(empty, format), `${root}/f 0 20644 1 0 0 0 0.0 - - -\n`);
  assert.throws(() => read(empty, 2), { code: "unsupported" });
});

test("composefs-rs goes by a file's digest, the C tools by its path", () => {
  const digest = "ab".repeat(32);
  const tree = parseDump(Buffer.from(`${root}/f 70 100644 1 0 0 0 0.0 other/path - ${digest}\n`));
  for (const [compat, path] of [["rust", `ab/${digest.slice(2)}`] as const, ["c", "other/path"] as const]) {
    const [file] = readErofs(writeErofs(tree, { format: 1, compat })).entries.values();
    assert.equal(file?.kind === "external" && file.path, path);
  }
});

test("composefs-rs takes a whiteout of the root that is like a stub for one", () => {
  const tree = parseDump(Buffer.from(`${root}/a0 0 20644 1 0 0 0 0.0 - - -\n`));
  const stub = byteStringOfText("a0");
  assert.equal(readErofs(writeErofs(tree, { format: 1 })).entries.has(stub), false);
  assert.equal(readErofs(writeErofs(tree, { format: 1, compat: "c" })).entries.has(stub), true);
  assert.ok(writeErofs(tree, { format: 1 }).equals(writeErofs(parseDump(Buffer.from(root)), { format: 1 })));
});

test("a leaf with several names is one object", () => {
  const lines = `${root}/f 0 100644 2 0 0 0 0.0 - - -\n/g 0 @120000 - - - - 0.0 /f - -\n`;
  for (const format of formats) {
    const [first, second] = readErofs(writeErofs(parseDump(Buffer.from(lines)), { format })).entries.values();
    assert.ok(first !== undefined && first === second);
  }
});
