import assert from "node:assert/strict";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import * as fc from "fast-check";
import { extract, type Header, pack } from "tar-stream";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import type { Dialect } from "#fixtures/tar-headers.ts";
import { device, directory, type Entry, fifo, file, hardlink, symlink } from "#fixtures/tar-writer.ts";
import { membersOf, tarOf } from "./tar-members.ts";

const segment = fc.stringMatching(/^[A-Za-z0-9 _.\u00e4-\u00fc-]{1,60}$/).filter((text) => !/^\.+$/.test(text));
const path = fc.array(segment, { minLength: 1, maxLength: 6 }).map((parts) => parts.join("/"));

test("what tar-stream writes is read as it was meant", async () => {
  const headers = fc.record({
    name: path,
    // tar-stream takes 0 for the default mode, and cuts larger owners and times off
    mode: fc.integer({ min: 1, max: 0o7777 }),
    uid: fc.nat({ max: 0o777777 }),
    gid: fc.nat({ max: 0o777777 }),
    mtime: fc.nat({ max: 2 ** 31 - 1 }).map((seconds) => new Date(seconds * 1000)),
    content: fc.string({ unit: "grapheme", maxLength: 1500 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(headers, { maxLength: 5 }), async (files) => {
      const packing = pack();
      for (const { content, ...header } of files) packing.entry(header, content);
      packing.finalize();
      const members = membersOf(await buffer(packing));
      assert.deepEqual(
        members.map(({ entry, content }) => [
          entry.name,
          entry.mode,
          entry.uid,
          entry.gid,
          entry.mtime.seconds,
          content.toString(),
        ]),
        files.map((f) => [byteStringOfText(f.name), f.mode, f.uid, f.gid, f.mtime.getTime() / 1000, f.content]),
      );
    }),
    { numRuns: 60 },
  );
});

/** Of tar-stream's types; it calls hardlinks `link`. */
const types: Record<string, string> = { link: "hardlink", "character-device": "char", "block-device": "block" };

test("the same tar, read by tar-stream, has the same members, however it arrives", async () => {
  const attributes = fc.record({
    mode: fc.nat({ max: 0o7777 }),
    uid: fc.nat({ max: 0o7777777 }),
    gid: fc.nat({ max: 0o7777777 }),
    mtime: fc.nat({ max: 2 ** 31 }),
  });
  const entry: fc.Arbitrary<Entry> = fc.oneof(
    fc
      .tuple(path, fc.string({ maxLength: 1200 }), attributes)
      .map(([name, content, rest]) => file(name, content, rest)),
    fc.tuple(path, attributes).map(([name, rest]) => directory(name, rest)),
    fc.tuple(path, path, attributes).map(([name, target, rest]) => symlink(name, target, rest)),
    fc.tuple(path, path, attributes).map(([name, target, rest]) => hardlink(name, target, rest)),
    fc.tuple(path, attributes).map(([name, rest]) => fifo(name, rest)),
    fc.tuple(path, attributes).map(([name, rest]) => device(name, "char", [10, 200], rest)),
  );
  const dialects = fc.constantFrom<Dialect[]>("pax", "gnu");
  await fc.assert(
    fc.asyncProperty(
      fc.array(entry, { maxLength: 6 }),
      dialects,
      fc.infiniteStream(fc.nat({ max: 1500 })),
      async (entries, dialect, sizes) => {
        const tar = tarOf(entries, dialect);
        const ours = membersOf(tar, () => nextOf(sizes));
        const theirs = await readByTarStream(tar);
        assert.deepEqual(
          ours.map(({ entry: e, content }) => [
            e.name,
            e.type,
            e.mode,
            e.uid,
            e.gid,
            e.mtime.seconds,
            e.linkName,
            content.toString(),
          ]),
          theirs.map(({ header: h, content }) => [
            h.type === "directory" ? slashed(byteStringOfText(h.name)) : byteStringOfText(h.name),
            types[h.type ?? ""] ?? h.type,
            h.mode,
            h.uid,
            h.gid,
            (h.mtime?.getTime() ?? 0) / 1000,
            byteStringOfText(h.linkname ?? ""),
            content,
          ]),
        );
      },
    ),
    { numRuns: 150 },
  );
});

function slashed(name: ByteString): string {
  return name.endsWith("/") ? name : `${name}/`;
}

async function readByTarStream(tar: Buffer): Promise<{ header: Header; content: string }[]> {
  const members: { header: Header; content: string }[] = [];
  const extracting = extract();
  extracting.end(tar);
  for await (const member of extracting) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of member) {
      if (chunk instanceof Uint8Array) chunks.push(chunk);
    }
    members.push({ header: member.header, content: Buffer.concat(chunks).toString() });
  }
  return members;
}

function nextOf(sizes: Iterator<number, unknown>): number {
  const next = sizes.next();
  return next.done === true ? 1 : next.value;
}
