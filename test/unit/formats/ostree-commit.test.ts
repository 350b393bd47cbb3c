import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { type Commit, parseCommit, serializeCommit } from "#formats/ostree-commit.ts";
import { type CommitMetadataEntry, parseMetadata, serializeMetadata } from "#formats/ostree-metadata.ts";
import { type Checksum, checksumOf } from "#formats/ostree-objects.ts";
import { hex, published } from "./ostree-vectors.ts";

const tree = "3".repeat(64) as Checksum;
const treeMetadata = published.checksums.dirmeta as Checksum;
const plain: Commit = { metadata: [], subject: "", body: "", timestamp: 0, tree, treeMetadata };

test("a commit that ostree wrote", () => {
  // The root of the published tree, from its dirtree's bytes.
  const { a, l, subtree, dirmeta, commit } = published.checksums;
  const rootTree = checksumOf(hex(`6100 ${a} 02 6c00 ${l} 02 23 46 6400 ${subtree} ${dirmeta} 22 02 44 48`));
  const value: Commit = {
    metadata: [{ key: "version", type: "s", value: "1" }],
    subject: "hi",
    body: "",
    timestamp: 1700000000,
    tree: rootTree,
    treeMetadata,
  };
  const expected = `76657273696f6e00 3100 00 73 08 0d 686900 00 000000000000 000000006553f100
    ${rootTree} ${dirmeta} 40 12 11 0e 0e 0e`;
  assert.deepEqual(serializeCommit(value), hex(expected));
  assert.equal(checksumOf(serializeCommit(value)), commit);
  assert.deepEqual(parseCommit(hex(expected)), value);
});

test("integers in the metadata are little-endian, those of ostree's own big-endian", () => {
  const metadata: CommitMetadataEntry[] = [
    { key: "u", type: "u", value: 0x01020304 },
    { key: "t", type: "t", value: 0x0102030405060708n },
    { key: "b", type: "b", value: true },
  ];
  const bytes = serializeMetadata(metadata);
  // Entries and variants start at multiples of 8, an entry's offset is the end of its key.
  const expected = `7500 000000000000 04030201 00 75 02 00
    7400 000000000000 0807060504030201 00 74 02 0000000000
    6200 000000000000 01 00 62 02 0f 23 34`;
  assert.deepEqual(bytes, hex(expected));
  assert.deepEqual(parseMetadata(bytes), metadata);
  assert.equal(serializeCommit({ ...plain, timestamp: 1 }).readBigUInt64BE(8), 1n);
});

describe("offset widths", () => {
  for (const length of [254, 255, 256, 65534, 65535, 65536]) {
    test(`around ${length} bytes`, () => {
      for (let body = length - 120; body <= length + 8; body++) {
        const commit = { ...plain, body: "b".repeat(body), parent: tree };
        const bytes = serializeCommit(commit);
        const width = bytes.length <= 0xff ? 1 : bytes.length <= 0xffff ? 2 : 4;
        // body and subject end in NULs, the timestamp starts at a multiple of 8
        assert.equal(bytes.length, Math.ceil((32 + 1 + body + 1) / 8) * 8 + 8 + 64 + 6 * width);
        assert.deepEqual(parseCommit(bytes), commit);
      }
    });
  }
});

test("what is written reads back", () => {
  const keys = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.includes("\0"));
  const texts = fc.string({ unit: "grapheme" }).filter((value) => !value.includes("\0"));
  const entries: fc.Arbitrary<CommitMetadataEntry> = fc.oneof(
    fc.tuple(keys, texts).map(([key, value]) => ({ key, type: "s", value }) as const),
    fc.tuple(keys, fc.boolean()).map(([key, value]) => ({ key, type: "b", value }) as const),
    fc.tuple(keys, fc.nat()).map(([key, value]) => ({ key, type: "u", value }) as const),
    fc.tuple(keys, fc.bigInt(0n, 2n ** 64n - 1n)).map(([key, value]) => ({ key, type: "t", value }) as const),
    fc
      .tuple(keys, fc.uint8Array({ maxLength: 300 }))
      .map(([key, bytes]) => ({ key, type: "other", signature: "ay", value: Buffer.from(bytes) }) as const),
  );
  const commits = fc.record({
    metadata: fc.uniqueArray(entries, { selector: (entry) => entry.key }),
    subject: texts,
    body: texts,
    timestamp: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  });
  fc.assert(
    fc.property(commits, (commit) => {
      const value: Commit = { ...plain, ...commit };
      assert.deepEqual(parseCommit(serializeCommit(value)), value);
    }),
  );
});

test("damaged commits are refused", () => {
  const bytes = serializeCommit({ ...plain, subject: "hi", metadata: [{ key: "version", type: "s", value: "1" }] });
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => parseCommit(bytes.subarray(0, length)), { code: "corrupt" }, `${length} bytes`);
  }
  const change = (position: number, value: number) => {
    const changed = Buffer.from(bytes);
    changed[position] = value;
    return changed;
  };
  assert.throws(() => parseCommit(change(20, 1)), { code: "corrupt" }, "padding before the timestamp");
  assert.throws(() => parseCommit(change(24, 0xff)), { code: "corrupt" }, "a timestamp of 2^63 seconds");
});

test("metadata that is no a{sv} is refused", () => {
  const refused = {
    "a key twice": serializeMetadata([
      { key: "k", type: "b", value: true },
      { key: "k", type: "b", value: false },
    ]),
    "a value without a type": hex("6b00 000000000000 0100 02 0b"),
    "a boolean of 2": hex("6b00 000000000000 02 00 62 02 0c"),
    "an integer of two bytes": hex("6b00 000000000000 0100 00 75 02 0d"),
    "text without its NUL": hex("6b00 000000000000 31 00 73 02 0c"),
    "text that is not UTF-8": hex("6b00 000000000000 ff00 00 73 02 0d"),
  };
  for (const [what, bytes] of Object.entries(refused))
    assert.throws(() => parseMetadata(bytes), { code: "corrupt" }, what);
});
