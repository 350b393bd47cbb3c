import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { parseDirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, checksumOf } from "#formats/ostree-objects.ts";
import { hex, published } from "./ostree-vectors.ts";

const { checksums } = published;
const file = (name: string, digit = "0") => ({ name: byteStringOfText(name), checksum: digit.repeat(64) as Checksum });
const directory = (name: string) => ({
  name: byteStringOfText(name),
  tree: "1".repeat(64) as Checksum,
  metadata: "2".repeat(64) as Checksum,
});

test("the empty directory is one zero byte", () => {
  const bytes = serializeDirtree({ files: [], directories: [] });
  assert.deepEqual(bytes, Buffer.of(0));
  assert.equal(checksumOf(bytes), checksums.emptyTree);
  assert.deepEqual(parseDirtree(bytes), { files: [], directories: [] });
});

test("a directory with one file", () => {
  const bytes = serializeDirtree({
    files: [{ name: "x" as ByteString, checksum: checksums.x as Checksum }],
    directories: [],
  });
  assert.deepEqual(bytes, hex(`7800 ${checksums.x} 02 23 24`));
  assert.equal(checksumOf(bytes), checksums.subtree);
});

test("files and directories", () => {
  const tree = {
    files: [
      { name: "a" as ByteString, checksum: checksums.a as Checksum },
      { name: "l" as ByteString, checksum: checksums.l as Checksum },
    ],
    directories: [
      { name: "d" as ByteString, tree: checksums.subtree as Checksum, metadata: checksums.dirmeta as Checksum },
    ],
  };
  const bytes = serializeDirtree(tree);
  const expected = `6100 ${checksums.a} 02 6c00 ${checksums.l} 02 23 46 6400 ${checksums.subtree} ${checksums.dirmeta} 22 02 44 48`;
  assert.deepEqual(bytes, hex(expected));
  assert.match(checksumOf(bytes), /^4bbcfcdd.*32e8$/);
  assert.deepEqual(parseDirtree(bytes), tree);
});

test("names sort by bytes, not by UTF-16 units", () => {
  const names = ["\ufffd", "\u{1f600}", "ü", "ab", "a.b", "a-b", "a b", "_z", "A"];
  const { files } = parseDirtree(serializeDirtree({ files: names.map((name) => file(name)), directories: [] }));
  assert.deepEqual(
    files.map(({ name }) => name),
    ["A", "_z", "a b", "a-b", "a.b", "ab", "ü", "\ufffd", "\u{1f600}"].map(byteStringOfText),
  );
});

/** With an entry of `nameLength + 34` bytes, its own offset in the array and the tuple's offset behind it. */
describe("offset widths", () => {
  const sizeOf = (nameLength: number) => {
    const tree = { files: [file("n".repeat(nameLength))], directories: [] };
    const bytes = serializeDirtree(tree);
    assert.deepEqual(parseDirtree(bytes), tree);
    return bytes.length;
  };

  test("255 bytes need offsets of one byte, 256 of two", () => {
    assert.equal(sizeOf(219), 219 + 34 + 1 + 1); // 255
    assert.equal(sizeOf(220), 220 + 34 + 1 + 2); // the array fits 255, the tuple does not
    assert.equal(sizeOf(221), 221 + 34 + 2 + 2);
    assert.equal(sizeOf(222), 222 + 35 + 2 + 2); // and now the entry itself
  });

  test("65535 bytes need offsets of two bytes, 65536 of four", () => {
    const seen = new Set<string>();
    for (let count = 1630; count < 1650; count++) {
      const files = Array.from({ length: count }, (_, i) => file(i.toString().padStart(4, "0")));
      const bytes = serializeDirtree({ files, directories: [] });
      const widthOf = (body: number, offsets: number) => (body + offsets * 2 <= 65535 ? 2 : 4);
      const inArray = widthOf(count * 38, count);
      const arrayLength = count * (38 + inArray);
      const inTuple = widthOf(arrayLength, 1);
      assert.equal(bytes.length, arrayLength + inTuple);
      assert.deepEqual(parseDirtree(bytes).files, files);
      seen.add(`${inArray} ${inTuple}`);
    }
    assert.deepEqual([...seen], ["2 2", "4 4"]);
  });
});

test("names that no directory or no ostree repository can hold", () => {
  for (const name of ["", ".", "..", "a/b", "a\0"] as ByteString[]) {
    assert.throws(() => serializeDirtree({ files: [{ ...file("x"), name }], directories: [] }), { code: "corrupt" });
    assert.throws(() => serializeDirtree({ files: [], directories: [{ ...directory("x"), name }] }), {
      code: "corrupt",
    });
  }
  const name = "a\xff" as ByteString;
  assert.throws(() => serializeDirtree({ files: [{ ...file("x"), name }], directories: [] }), { code: "not-utf8" });
});

test("a name that comes twice", () => {
  assert.throws(() => serializeDirtree({ files: [file("a"), file("a")], directories: [] }), { code: "corrupt" });
  assert.throws(
    () => serializeDirtree({ files: [file("a"), file("b")], directories: [directory("b")] }),
    /both as a file/,
  );
});

test("what libostree would not find or not accept is refused", () => {
  const entry = (name: string) => `${name}00 ${checksums.a} 02`;
  const refused = {
    "no bytes at all": "",
    "an offset beyond the end": `${entry("61")} 23 25`,
    "a table of offsets that leads backwards": `${entry("61")} ${entry("62")} 46 23 48`,
    "names out of order": `${entry("62")} ${entry("61")} 23 46 48`,
    "a name twice": `${entry("61")} ${entry("61")} 23 46 48`,
    "a name with a slash": `${entry("2f")} 23 24`,
    "a name without its NUL": `6161 ${checksums.a} 02 23 24`,
    "a checksum of 31 bytes": `6100 ${checksums.a.slice(2)} 02 22 23`,
    "a name that is not UTF-8": `${entry("ff")} 23 24`,
  };
  assert.doesNotThrow(() => parseDirtree(hex(`${entry("61")} ${entry("62")} 23 46 48`)));
  for (const [what, bytes] of Object.entries(refused))
    assert.throws(() => parseDirtree(hex(bytes)), { code: "corrupt" }, what);
});

test("what is written reads back; any changed byte is refused or changes the tree", () => {
  const name = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
    .filter((text) => !/^\.{1,2}$|[/\0]/.test(text));
  const trees = fc.uniqueArray(name, { maxLength: 12 }).map((names) => ({
    files: names.filter((_, i) => i % 3 !== 0).map((text, i) => file(text, "abcdef0123456789"[i % 16])),
    directories: names.filter((_, i) => i % 3 === 0).map((text) => directory(text)),
  }));
  fc.assert(
    fc.property(trees, fc.nat(), fc.integer({ min: 1, max: 255 }), (tree, position, change) => {
      const bytes = serializeDirtree(tree);
      const parsed = parseDirtree(bytes);
      assert.deepEqual(serializeDirtree(parsed), bytes);
      assert.equal(parsed.files.length + parsed.directories.length, tree.files.length + tree.directories.length);
      const damaged = Buffer.from(bytes);
      const at = position % bytes.length;
      damaged[at] = (damaged[at] ?? 0) ^ change;
      let again: Buffer;
      try {
        again = serializeDirtree(parseDirtree(damaged));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "corrupt");
        return;
      }
      assert.deepEqual(again, damaged);
    }),
  );
});
