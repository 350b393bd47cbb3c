import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { bigTree, randomTree } from "#fixtures/composefs-trees.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import { backingFilesOf } from "#formats/erofs-objects.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { newSeed } from "../../unit/formats/mutations.ts";

before(() => ensurePackages(["mmdebstrap"]));

const seed = newSeed();
const early = [0, 1] as const;

test("300 random trees: the images are those of mkcomposefs, which reads the dumps", async (t) => {
  t.diagnostic(`seed ${seed}`);
  await using folder = await makeTemporaryFolder("composefs-trees");
  const trees = Array.from({ length: 300 }, (_, index) => randomTree({ seed: seed + index, onlyC: true }));
  for (const [index, tree] of trees.entries()) writeFileSync(join(folder.path, `${index}.dump`), writeDump(tree));
  const script = `cd "$1"; for dump in *.dump; do for format in 0 1; do
    mkcomposefs --from-file --min-version=$format --max-version=$format $dump \${dump%.dump}.$format
  done; done`;
  await runModern(["sh", "-euc", script, "sh", folder.path]);
  for (const [index, tree] of trees.entries()) {
    const which = `tree of seed ${seed + index}`;
    const dump = readFileSync(join(folder.path, `${index}.dump`));
    for (const format of early) {
      const theirs = readFileSync(join(folder.path, `${index}.${format}`));
      assert.ok(writeErofs(tree, { format, compat: "c" }).equals(theirs), `${which}, format ${format}`);
      assert.ok(writeDump(readErofs(theirs)).equals(dump), `${which}, format ${format}, read`);
    }
    assert.ok(writeDump(parseDump(dump, "c")).equals(dump), `${which}, its dump`);
  }
});

test("one tree of 200,000 files: the images are those of mkcomposefs", async () => {
  await using folder = await makeTemporaryFolder("composefs-big");
  const dump = writeDump(bigTree(200_000));
  writeFileSync(join(folder.path, "dump"), dump);
  await runModern(["sh", "-euc", 'cd "$1"; mkcomposefs --from-file dump image', "sh", folder.path]);
  const theirs = readFileSync(join(folder.path, "image"));
  const ours = writeErofs(parseDump(dump), { format: 0, compat: "c" });
  assert.ok(ours.equals(theirs));
  assert.ok(writeDump(readErofs(theirs)).equals(dump));
});

/** Dumps that the C project's own tests demand to be refused (tests/assets/should-fail-*.dump), and a few more. */
const refused = {
  "big-inline": `/f 5004 100644 1 0 0 0 0.0 - ${"c".repeat(5004)} -`,
  "dir-hardlink": "/rootlink 0 @40755 1 0 0 0 0.0 / - -",
  "dot-name": "/. 0 100644 1 0 0 0 0.0 - - -",
  "dotdot-name": "/.. 0 100644 1 0 0 0 0.0 - - -",
  "empty-link-name": "/l 0 120777 1 0 0 0 0.0 - - -",
  "empty-name": "// 0 100644 1 0 0 0 0.0 - - -",
  "empty-xattr-key": "/f 0 100644 1 0 0 0 0.0 - - - =somevalue",
  "many-xattrs": `/f 0 100644 1 0 0 0 0.0 - - - ${Array.from({ length: 9 }, (_, n) => `user.${n}=${"v".repeat(4000)}`).join(" ")}`,
  "long-link": `/l 4096 120777 1 0 0 0 0.0 ${"t".repeat(4096)} - -`,
  "long-xattr-key": `/f 0 100644 1 0 0 0 0.0 - - - user.${"n".repeat(256)}=v`,
  "long-xattr-value": `/f 0 100644 1 0 0 0 0.0 - - - user.a=${"v".repeat(65_536)}`,
  "no-ftype": "/f 0 0 1 0 0 0 0.0 - - -",
  "self-hardlink": "/f 0 @100644 1 0 0 0 0.0 /f - -",
  "too-big": "/f 9500000000000000 100644 1 0 0 0 0.0 a/b - -",
  "parent-missing": "/a/b 0 100644 1 0 0 0 0.0 - - -",
  "name-twice": "/a 0 100644 1 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0 - - -",
} as const;

test("what mkcomposefs refuses, we refuse", async () => {
  await using folder = await makeTemporaryFolder("composefs-refused");
  for (const [name, lines] of Object.entries(refused)) {
    const dump = Buffer.from(`/ 0 40755 2 0 0 0 0.0 - - -\n${lines}\n`);
    writeFileSync(join(folder.path, `${name}.dump`), dump);
    assert.throws(() => writeErofs(parseDump(dump, "c"), { format: 1, compat: "c" }), OneholdError, name);
  }
  const script =
    'cd "$1"; for dump in *.dump; do mkcomposefs --from-file $dump image 2>/dev/null && echo $dump; done; true';
  assert.equal(await runModern(["sh", "-uc", script, "sh", folder.path]), "");
});

test("whiteouts with several names are written as mkcomposefs writes them", async () => {
  await using folder = await makeTemporaryFolder("composefs-whiteouts");
  const dump = Buffer.from(`/ 0 40755 4 0 0 0 0.0 - - -
/a 0 40755 2 0 0 0 1.0 - - - user.overlay.opaque=y trusted.overlay.opaque=z
/a/w 0 20644 2 0 0 0 0.0 - - - trusted.overlay.whiteout=own
/b 0 40755 2 0 0 0 0.0 - - -
/b/w 0 @20644 2 0 0 0 0.0 /a/w - -
`);
  writeFileSync(join(folder.path, "dump"), dump);
  const script = `cd "$1"; for format in 0 1; do
    mkcomposefs --from-file --min-version=$format --max-version=$format dump $format
  done`;
  await runModern(["sh", "-euc", script, "sh", folder.path]);
  for (const format of early) {
    const ours = writeErofs(parseDump(dump, "c"), { format, compat: "c" });
    assert.ok(ours.equals(readFileSync(join(folder.path, `${format}`))), `format ${format}`);
  }
});

test("composefs-info and fsck.erofs take our images for their own", async (t) => {
  t.diagnostic(`seed ${seed}`);
  await using folder = await makeTemporaryFolder("composefs-info");
  mkdirSync(join(folder.path, "empty"));
  const trees = Array.from({ length: 30 }, (_, index) => randomTree({ seed: seed + index }));
  for (const [index, tree] of trees.entries()) {
    writeFileSync(join(folder.path, `${index}.dump`), writeDump(tree));
    for (const format of early) writeFileSync(join(folder.path, `${index}.${format}`), writeErofs(tree, { format }));
    writeFileSync(join(folder.path, `${index}.2`), writeErofs(tree, { format: 2 }));
  }
  const script = `cd "$1"; for dump in *.dump; do number=\${dump%.dump}; for format in 0 1 2; do
    image=$number.$format
    fsck.erofs $image >$image.fsck 2>&1 && echo sound >>$image.fsck || echo unsound >>$image.fsck
    [ $format = 2 ] && continue
    mkcomposefs --from-file --min-version=$format --max-version=$format $dump theirs
    mv $image ours; cp theirs $image # fsck.erofs prints the name of the image
    fsck.erofs $image >$image.fsck-theirs 2>&1 && echo sound >>$image.fsck-theirs || echo unsound >>$image.fsck-theirs
    mv ours $image
    composefs-info dump $image >$image.dumped
    composefs-info ls $image >$image.listed
    composefs-info objects $image >$image.objects
    composefs-info --basedir=empty missing-objects $image >$image.missing
  done; done`;
  await runModern(["sh", "-euc", script, "sh", folder.path]);
  const read = (name: string) => readFileSync(join(folder.path, name), "latin1");
  for (const index of trees.keys()) {
    assert.match(read(`${index}.2.fsck`), /^sound$/m, `tree of seed ${seed + index}, format 2`);
    for (const format of early) {
      const name = `${index}.${format}`;
      const which = `tree of seed ${seed + index}, format ${format}`;
      const image = readFileSync(join(folder.path, name));
      assert.equal(read(`${name}.fsck`), read(`${name}.fsck-theirs`), which);
      assert.match(read(`${name}.fsck`), /^sound$/m, which);
      const dump = writeDump(readErofs(image), "c").toString("latin1");
      assertSameLines(sortedXattrs(read(`${name}.dumped`)), sortedXattrs(dump), which);
      const objects = backingFilesOf(image)
        .map(({ path }) => `${path}\n`)
        .join("");
      assert.equal(read(`${name}.objects`), objects, which);
      assert.equal(read(`${name}.missing`), objects, which);
      assertSameLines(namesOfListing(read(`${name}.listed`)), namesOfDump(dump), which);
    }
  }
});

/**
 * Each line with its xattrs in order, and without those that composefs-info forgets to take out of the directories
 * of whiteouts.
 */
function sortedXattrs(dump: string): string[] {
  return dump.split("\n").map((line) => {
    const fields = line.split(" ");
    const xattrs = fields.slice(11).filter((xattr) => !/^(?:trusted|user)\.overlay\.opaque=x$/.test(xattr));
    return [...fields.slice(0, 11), ...xattrs.toSorted()].join(" ");
  });
}

/** Names only the first line that differs. */
function assertSameLines(actual: readonly string[], expected: readonly string[], which: string): void {
  const different = expected.findIndex((line, index) => line !== actual[index]);
  if (different >= 0) assert.equal(actual[different], expected[different], `${which}, line ${different + 1}`);
  assert.equal(actual.length, expected.length, which);
}

/** composefs-info leaves spaces as they are there. */
function namesOfListing(listing: string): string[] {
  const names = listing.split("\n").filter((line) => line !== "");
  return names.map((line) => line.split("\t")[0]?.replaceAll(" ", String.raw`\x20`) ?? "");
}

function namesOfDump(dump: string): string[] {
  const lines = dump.split("\n").filter((line) => line !== "" && !line.startsWith("/ "));
  return lines.map((line) => {
    const [name = "", , mode = ""] = line.split(" ");
    return mode.startsWith("4") && mode.length === 5 ? `${name}/` : name;
  });
}
