import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { type ByteString, byteString } from "#base/bytes.ts";
import { crc64 } from "#formats/crc64.ts";
import type { TarEntry } from "#formats/tar.ts";
import { TarHeaderReader, TarSplitParser, type TarSplitRecord } from "#formats/tar-split.ts";
import { directory, type Entry, file, globalPax, hardlink, symlink, writeTar } from "#fixtures/tar-writer.ts";
import { fixChecksum } from "./tar-members.ts";

type Content = { name: Buffer; size: number; content: Buffer };

/**
 * Takes a tar apart as tar-split does, by what its entries were made of: headers with what fills the block
 * before them, then content.
 */
function split(entries: Entry[], trailing = Buffer.alloc(0)): (Buffer | Content)[] {
  const parts: (Buffer | Content)[] = [];
  let segment = Buffer.alloc(0);
  for (const entry of entries) {
    const tar = Buffer.concat([...writeTar([entry])]).subarray(0, -1024);
    const content = Buffer.from(
      typeof entry.content === "string" || Buffer.isBuffer(entry.content) ? entry.content : "",
    );
    // Of a global header tar-split makes a member without content: what fills its last block comes after it.
    const isGlobal = entry.flag === "g";
    const end = isGlobal ? 512 + sizeField(tar) : tar.length - Math.ceil(content.length / 512) * 512;
    parts.push(Buffer.concat([segment, tar.subarray(0, end)]));
    parts.push({ name: Buffer.from(entry.name), size: content.length, content });
    segment = tar.subarray(end + content.length);
  }
  parts.push(Buffer.concat([segment, Buffer.alloc(1024)]), trailing);
  return parts;
}

function sizeField(header: Buffer): number {
  return Number.parseInt(header.toString("latin1", 124, 135), 8);
}

/** The lines, in the form in which Go's encoding/json writes them. */
function linesOf(parts: (Buffer | Content)[]): Buffer {
  const lines = parts.map((part, position) => {
    if (Buffer.isBuffer(part)) return { type: 2, payload: part.toString("base64"), position };
    const { name, size, content } = part;
    const text = name.toString("utf8");
    const named = Buffer.from(text).equals(name) ? { name: text } : { name_raw: name.toString("base64") };
    const payload = size === 0 ? null : crc64(content).toString("base64");
    return { type: 1, ...named, ...(size === 0 ? {} : { size }), payload, position };
  });
  const escaped = (line: object) =>
    JSON.stringify(line).replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
  return Buffer.from(lines.map((line) => `${escaped(line)}\n`).join(""));
}

function recordsOf(lines: Buffer, chunkSize = lines.length): TarSplitRecord[] {
  const parser = new TarSplitParser();
  const records: TarSplitRecord[] = [];
  const chunk = Buffer.alloc(chunkSize); // one for all, as a reader of files does
  for (let position = 0; position < lines.length; position += chunkSize) {
    records.push(...parser.push(chunk.subarray(0, lines.copy(chunk, 0, position))));
  }
  parser.end();
  return records;
}

function entriesOf(records: TarSplitRecord[]): TarEntry[] {
  const reader = new TarHeaderReader();
  const entries = records.map((record) => reader.accept(record)).filter((entry) => entry !== undefined);
  reader.end();
  return entries;
}

const layer: Entry[] = [
  globalPax({ comment: "c" }),
  directory("usr", { mtime: 1700000000 }),
  file("usr/a", "hello\n", { uid: 1000, xattrs: { "user.k": "v" } }),
  file(`usr/${"long".repeat(40)}`, "x".repeat(512)),
  file("usr/empty"),
  file(Buffer.from("usr/\xff", "latin1"), "y".repeat(700)),
  file("usr/<&>ü", "z"),
  hardlink("usr/h", "usr/a"),
  symlink("usr/s", "a"),
  file("usr/.wh.gone"),
];

describe("lines", () => {
  test("records, however the lines arrive", () => {
    const parts = split(layer, Buffer.from("junk after the end"));
    const lines = linesOf(parts);
    const expected: TarSplitRecord[] = parts.map((part) =>
      Buffer.isBuffer(part)
        ? { type: "segment", bytes: part }
        : {
            type: "file",
            name: byteString(part.name),
            size: part.size,
            crc64: part.size === 0 ? undefined : crc64(part.content),
          },
    );
    for (const chunkSize of [1, 7, 100, 1000, lines.length]) assert.deepEqual(recordsOf(lines, chunkSize), expected);
  });

  test("segments and contents give the tar back", () => {
    const parts = split(layer);
    const whole = Buffer.concat(parts.map((part) => (Buffer.isBuffer(part) ? part : part.content)));
    assert.deepEqual(whole, Buffer.concat([...writeTar(layer)]));
  });

  const line = (value: unknown) => Buffer.from(`${JSON.stringify(value)}\n`);
  const damaged = {
    "no JSON": Buffer.from("x\n"),
    "an empty line": Buffer.from("\n"),
    "a list": line([]),
    "no type": line({ payload: "" }),
    "an unknown type": line({ type: 3, payload: "" }),
    "a negative size": line({ type: 1, name: "a", size: -1, payload: "AAAAAAAAAAA=" }),
    "a size that is no integer": line({ type: 1, name: "a", size: 1.5, payload: "AAAAAAAAAAA=" }),
    "a size as text": line({ type: 1, name: "a", size: "1", payload: "AAAAAAAAAAA=" }),
    "content without a checksum": line({ type: 1, name: "a", size: 1, payload: null }),
    "a checksum of seven bytes": line({ type: 1, name: "a", size: 1, payload: "AAAAAAAAAA==" }),
    "a name that is no text": line({ type: 1, name: 1 }),
    "base64 with a character that is none": line({ type: 2, payload: "AA*A" }),
    "base64 that is cut off": line({ type: 2, payload: "AAA" }),
    "a second value": Buffer.from('{"type":2}{"type":2}\n'),
  };
  for (const [what, bytes] of Object.entries(damaged)) {
    test(what, () => assert.throws(() => new TarSplitParser().push(bytes), { code: "corrupt" }));
  }

  test("the error names the line", () => {
    assert.throws(() => recordsOf(Buffer.concat([line({ type: 2 }), line({ type: 2 }), line({ type: 4 })])), /line 3 /);
  });

  test("a last line without an end", () => {
    const lines = linesOf(split(layer));
    for (const length of [1, 100, lines.length - 1]) {
      assert.throws(() => recordsOf(lines.subarray(0, length)), { code: "corrupt" });
    }
  });

  test("a line of 1 MiB of content is read, one without an end is not kept for ever", () => {
    const bytes = Buffer.alloc(1 << 20, "x");
    assert.deepEqual(recordsOf(line({ type: 2, payload: bytes.toString("base64") }), 65536), [
      { type: "segment", bytes },
    ]);
    const parser = new TarSplitParser();
    const chunk = Buffer.alloc(1 << 20, "x");
    assert.throws(
      () => {
        for (let count = 0; count < 20; count++) parser.push(chunk);
      },
      { code: "corrupt", message: /longer than 16777216 bytes/ },
    );
  });
});

describe("headers", () => {
  test("every member has its entry", () => {
    const entries = entriesOf(recordsOf(linesOf(split(layer, Buffer.from("junk")))));
    assert.deepEqual(
      entries.map(({ name, type, size, linkName, uid }) => [name, type, size, linkName, uid]),
      [
        ["usr/", "directory", 0, "", 0],
        ["usr/a", "file", 6, "", 1000],
        [`usr/${"long".repeat(40)}`, "file", 512, "", 0],
        ["usr/empty", "file", 0, "", 0],
        ["usr/\xff", "file", 700, "", 0],
        [byteString(Buffer.from("usr/<&>ü")), "file", 1, "", 0],
        ["usr/h", "hardlink", 0, "usr/a", 0],
        ["usr/s", "symlink", 0, "a", 0],
        ["usr/.wh.gone", "file", 0, "", 0],
      ],
    );
    assert.deepEqual(entries[1]?.xattrs, [{ name: "user.k", value: Buffer.from("v") }]);
  });

  test("segments may be cut anywhere", () => {
    const records = recordsOf(linesOf(split(layer)));
    const expected = entriesOf(records);
    fc.assert(
      fc.property(fc.infiniteStream(fc.integer({ min: 0, max: 700 })), (sizes) => {
        const cut = records.flatMap((record): TarSplitRecord[] => {
          if (record.type === "file") return [record];
          const pieces: TarSplitRecord[] = [];
          for (let position = 0; position < record.bytes.length; ) {
            const end = position + nextOf(sizes);
            pieces.push({ type: "segment", bytes: record.bytes.subarray(position, end) });
            position = end;
          }
          return pieces;
        });
        assert.deepEqual(entriesOf(cut), expected);
      }),
    );
  });

  test("of a hardlink whose header has a size, the size is the record's but not the entry's", () => {
    const [header, , padding] = split([file("n", "12345")]);
    assert.ok(Buffer.isBuffer(header) && Buffer.isBuffer(padding));
    header.write("1", 156, "latin1");
    fixChecksum(header.subarray(0, 512));
    const [entry] = entriesOf([
      { type: "segment", bytes: header },
      { type: "file", name: "n" as ByteString, size: 5, crc64: Buffer.alloc(8) },
      { type: "segment", bytes: Buffer.alloc(1024) },
    ]);
    assert.deepEqual([entry?.type, entry?.size], ["hardlink", 0]);
  });

  const records = recordsOf(linesOf(split([file("a", "hello"), file("b", "x")])));
  const changed = (index: number, change: Partial<Extract<TarSplitRecord, { type: "file" }>>) =>
    records.map((record, i) => (i === index && record.type === "file" ? { ...record, ...change } : record));
  const without = (index: number) => records.filter((_, i) => i !== index);
  const disagreeing = {
    "another name": changed(1, { name: "b" as ByteString }),
    "another size": changed(1, { size: 4 }),
    "no header": without(0),
    "no record": without(1),
    "no header in the middle": without(2),
    "no record at the end": without(3),
    "one record twice": [...records.slice(0, 2), ...records.slice(1)],
    "a record after the end": [...records, ...records.slice(1, 2)],
  };
  for (const [what, list] of Object.entries(disagreeing)) {
    test(`records that disagree with the headers: ${what}`, () =>
      assert.throws(() => entriesOf(list), { code: "corrupt" }));
  }

  test("a tar that ends in the middle of a header", () => {
    const [first] = records;
    assert.ok(first?.type === "segment");
    assert.throws(() => entriesOf([{ type: "segment", bytes: first.bytes.subarray(0, 300) }]), { code: "corrupt" });
    assert.throws(() => entriesOf(records.slice(0, 1)), { code: "corrupt" });
  });
});

function nextOf(sizes: Iterator<number, unknown>): number {
  const next = sizes.next();
  return next.done === true ? 1 : next.value;
}
