import assert from "node:assert/strict";
import { test } from "node:test";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { objectIdOf, type ObjectId } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { type ContentType, contentTypes, parseSplitstream, type SplitstreamHead } from "#formats/splitstream.ts";
import { partsOf } from "#formats/splitstream-body.ts";
import { LayerStreamWriter, layerStreamEntries } from "#formats/splitstream-layer.ts";
import { SplitstreamWriter } from "#formats/splitstream-writer.ts";
import {
  alphaStream,
  config,
  configObject,
  configStream,
  configStreamObject,
  layers,
  rebuilt,
  sha256,
  tarOf,
  withOldHeader,
} from "./splitstream-vectors.ts";

const id = (text: string) => text as ObjectId;
const verityOf = (bytes: Buffer) => objectIdOf(verityDigest("sha256", bytes));
const someId = (byte: number) => id(byte.toString(16).padStart(2, "0").repeat(32));

async function layerStream(layer: (typeof layers)[number]): Promise<Buffer> {
  const { header, content, rest } = tarOf(layer);
  assert.equal(`sha256:${sha256(Buffer.concat([header, content, rest]))}`, layer.diffId, "the tar is as published");
  const writer = new LayerStreamWriter("sha256");
  writer.tar(header);
  writer.file(layer.size, { kind: "object", id: verityOf(content) });
  writer.tar(rest);
  return writer.finish();
}

test("the streams of three layers are composefs-rs's, byte for byte", async () => {
  for (const layer of layers) assert.equal(verityOf(await layerStream(layer)), layer.stream);
  assert.deepEqual(await layerStream(layers[0]), alphaStream);
});

test("so is the stream of their config", async () => {
  assert.equal(verityOf(config), configObject);
  const writer = new SplitstreamWriter("sha256", contentTypes.config);
  for (const { diffId, stream } of layers) writer.addNamedRef(diffId, id(stream));
  writer.writeExternal(id(configObject), config.length);
  const written = await writer.finish();
  assert.deepEqual(written, configStream);
  assert.equal(verityOf(written), configStreamObject);
});

for (const [what, stream] of [
  ["as written today", configStream],
  ["as bootc 1.15 wrote it", withOldHeader(configStream)],
] as const) {
  test(`a config's stream is read, ${what}`, async () => {
    const head = parseSplitstream(stream, "sha256");
    assert.equal(head.contentType, "ociconfg");
    assert.equal(head.size, config.length);
    assert.deepEqual(
      [...head.namedRefs],
      layers.map(({ diffId, stream: object }) => [diffId, object]),
    );
    assert.deepEqual(
      [...head.streamRefs],
      layers.map((layer) => layer.stream),
    );
    assert.deepEqual([...head.objectRefs], [configObject]);
    assert.deepEqual(await allParts(head), [{ kind: "external", id: configObject }]);
  });
}

test("a layer's stream is read: its tar, and its members", async () => {
  const { header, content, rest } = tarOf(layers[0]);
  const head = parseSplitstream(alphaStream, "sha256");
  assert.equal(head.size, 2560);
  assert.deepEqual(await allParts(head), [
    { kind: "inline", bytes: header },
    { kind: "external", id: verityOf(content) },
    { kind: "inline", bytes: rest },
  ]);
  const [entry, ...more] = await allEntries(alphaStream);
  assert.deepEqual(more, []);
  assert.equal(entry?.entry.name, "alpha");
  assert.equal(entry?.entry.size, 1000);
  assert.deepEqual(entry?.content, { kind: "object", id: verityOf(content) });
});

test("names are sorted by their bytes, and may share an object", async () => {
  const writer = new SplitstreamWriter("sha512", "12345678" as ContentType);
  const long = (byte: string) => id(byte.repeat(128));
  // By UTF-16 units the second would come before the first.
  for (const [name, object] of [
    ["\uffee", "a"],
    ["\u{1f600}", "b"],
    ["b:c", "a"],
    ["", "c"],
    ["a", "a"],
  ] as const) {
    writer.addNamedRef(name, long(object));
  }
  assert.throws(() => writer.addNamedRef("a", long("b")));
  assert.throws(() => writer.addNamedRef("a\0b", long("b")));
  const head = parseSplitstream(await writer.finish(), "sha512");
  assert.deepEqual([...head.namedRefs.keys()], ["", "a", "b:c", "\uffee", "\u{1f600}"]);
  assert.deepEqual([...head.namedRefs.values()], ["c", "a", "a", "a", "b"].map(long));
  assert.deepEqual([...head.streamRefs], ["a", "b", "c"].map(long));
  assert.equal(head.size, 0);
  assert.deepEqual(await allParts(head), []);
});

test("an object referred to often is in the table once; adjacent bytes are one chunk", async () => {
  const writer = new SplitstreamWriter("sha256", contentTypes.layer);
  const big = Buffer.alloc(300_000, "b");
  for (const bytes of [Buffer.from("a"), Buffer.alloc(0), big]) writer.writeInline(bytes);
  for (const byte of [1, 2, 1]) writer.writeExternal(someId(byte), 100);
  writer.writeInline(Buffer.from("c"));
  await writer.drained();
  const head = parseSplitstream(await writer.finish(), "sha256");
  assert.deepEqual([...head.objectRefs], [someId(1), someId(2)]);
  assert.equal(head.size, 300_302);
  const plain = zstdDecompressSync(head.body);
  assert.equal(plain.readBigInt64LE(0), -300_001n);
  assert.equal(plain.length, 8 + 300_001 + 3 * 8 + 8 + 1);
  assert.deepEqual(await allParts(head), [
    { kind: "inline", bytes: Buffer.concat([Buffer.from("a"), big]) },
    ...[1, 2, 1].map((byte) => ({ kind: "external", id: someId(byte) })),
    { kind: "inline", bytes: Buffer.from("c") },
  ]);
});

test("a layer's writer keeps to the limit of 64 bytes", async () => {
  const writer = new LayerStreamWriter("sha256");
  assert.throws(() => writer.file(64, { kind: "object", id: someId(1) }));
  assert.throws(() => writer.file(65, { kind: "inline", bytes: Buffer.alloc(65) }));
  assert.throws(() => writer.file(3, { kind: "inline", bytes: Buffer.alloc(4) }));
  writer.file(65, { kind: "object", id: someId(1) });
  writer.file(64, { kind: "inline", bytes: Buffer.alloc(64) });
  await writer.finish();
});

const good = () => Buffer.from(configStream);
const edited = (edit: (bytes: Buffer) => void) => {
  const bytes = good();
  edit(bytes);
  return bytes;
};
const damaged: Readonly<Record<string, [Buffer, string]>> = {
  "no bytes": [Buffer.alloc(0), "corrupt"],
  "a header that is cut off": [good().subarray(0, 31), "corrupt"],
  "no info block": [good().subarray(0, 32), "corrupt"],
  "another magic": [edited((bytes) => bytes.write("Splitstream")), "corrupt"],
  "a later version": [edited((bytes) => bytes.writeUInt8(1, 11)), "unsupported"],
  "another algorithm": [edited((bytes) => bytes.writeUInt8(2, 14)), "unsupported"],
  "other blocks": [edited((bytes) => bytes.writeUInt8(16, 15)), "unsupported"],
  "a short info block": [edited((bytes) => bytes.writeBigUInt64LE(111n, 24)), "corrupt"],
  "an info block that ends before it starts": [edited((bytes) => bytes.writeBigUInt64LE(31n, 24)), "corrupt"],
  "a table beyond the end": [edited((bytes) => bytes.writeBigUInt64LE(2n ** 64n - 1n, 32 + 24)), "corrupt"],
  "half a digest": [edited((bytes) => bytes.writeBigUInt64LE(0xe0n, 32 + 24)), "corrupt"],
  "a size beyond 2^53": [edited((bytes) => bytes.writeBigUInt64LE(2n ** 53n, 32 + 72)), "corrupt"],
  "names of which the end is cut off": [edited((bytes) => bytes.writeBigUInt64LE(0x183n, 32 + 56)), "corrupt"],
};
for (const [what, [bytes, code]] of Object.entries(damaged)) {
  test(`a stream with ${what} is refused`, () => assert.throws(() => parseSplitstream(bytes, "sha256"), { code }));
}

const names: Readonly<Record<string, string>> = {
  "an index beyond the table": "3:a\0",
  "no index": ":a\0",
  "no colon": "1\0",
  "no end": "1:a",
  "a name twice": "1:a\0" + "2:a\0",
  "bytes that are no UTF-8": "1:\xff\0",
};
for (const [what, text] of Object.entries(names)) {
  test(`named refs with ${what} are refused`, () => {
    const bytes = rebuilt(configStream, { names: zstdCompressSync(Buffer.from(text, "latin1")) });
    assert.throws(() => parseSplitstream(bytes, "sha256"), { code: "corrupt" });
  });
}

const number = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
};
const bodies: Readonly<Record<string, Buffer>> = {
  "bytes that are no zstd": Buffer.from("not a zstd frame at all"),
  "a frame that is cut off": zstdCompressSync(number(0n)).subarray(0, 10),
  "a cut number": zstdCompressSync(Buffer.concat([number(0n), Buffer.alloc(3)])),
  "a chunk that is cut off": zstdCompressSync(Buffer.concat([number(-5n), Buffer.alloc(4)])),
  "an object that is not in the table": zstdCompressSync(number(1n)),
  "a chunk of 2^63 bytes": zstdCompressSync(number(-(2n ** 63n))),
  "more bytes than it claims": zstdCompressSync(Buffer.concat([number(-300n), Buffer.alloc(300)])),
  "more objects than bytes": zstdCompressSync(Buffer.alloc(8 * 300)),
};
for (const [what, body] of Object.entries(bodies)) {
  test(`a body with ${what} is refused`, async () => {
    const head = parseSplitstream(rebuilt(configStream, { body }), "sha256");
    await assert.rejects(allParts(head), { code: "corrupt" });
  });
}

test("a small stream that would unpack to 128 GiB is refused, in bounded time and memory", {
  timeout: 120_000,
}, async () => {
  // A zstd frame by hand: a block with a chunk's number, then blocks that say "128 KiB of zeros" in four bytes.
  const body = Buffer.concat([
    Buffer.from("28b52ffd0048" + "400000", "hex"),
    number(-(2n ** 52n)),
    Buffer.alloc(4 * 2 ** 20, "02001000", "hex"),
    Buffer.from("010000", "hex"),
  ]);
  const bytes = rebuilt(configStream, { body, size: 2n ** 52n });
  const before = process.memoryUsage().rss;
  let most = 0;
  await assert.rejects(
    async () => {
      for await (const parts of partsOf(parseSplitstream(bytes, "sha256"))) {
        assert.ok(parts.length < 10);
        most = Math.max(most, process.memoryUsage().rss);
      }
    },
    { code: "corrupt", message: /unpacks to more than/ },
  );
  assert.ok(most - before < 300e6, `${most - before} bytes more`);
});

test("a layer's members must fit its contents", async () => {
  const { header, content, rest } = tarOf(layers[0]);
  const tiny = tarOf({ name: "tiny", size: 3 });
  const streamOf = async (...parts: (Buffer | ObjectId)[]) => {
    const writer = new SplitstreamWriter("sha256", contentTypes.layer);
    for (const part of parts) {
      if (typeof part === "string") writer.writeExternal(part, 1000);
      else writer.writeInline(part);
    }
    return writer.finish();
  };
  const object = someId(7);
  const entries = await allEntries(
    await streamOf(tiny.header, Buffer.from("abc"), tiny.rest.subarray(0, 509), header, object, rest),
  );
  assert.deepEqual(
    entries.map(({ entry: { name }, content: held }) => [name, held]),
    [
      ["tiny", { kind: "inline", bytes: Buffer.from("abc") }],
      ["alpha", { kind: "object", id: object }],
    ],
  );
  for (const parts of [
    [header, content, rest],
    [header, object, object, rest],
    [object, header, object, rest],
    [tiny.header, object, tiny.rest],
    [header],
    [header.subarray(0, 300), object],
    [tiny.header, Buffer.from("ab")],
  ]) {
    await assert.rejects(allEntries(await streamOf(...parts)), { code: "corrupt" });
  }
  await assert.rejects(allEntries(configStream), { code: "corrupt" });
});

async function allParts(head: SplitstreamHead) {
  const all: ({ kind: "inline"; bytes: Buffer } | { kind: "external"; id: ObjectId })[] = [];
  for await (const parts of partsOf(head)) {
    for (const part of parts) {
      const last = all.at(-1);
      if (part.kind === "inline" && last?.kind === "inline") last.bytes = Buffer.concat([last.bytes, part.bytes]);
      else all.push({ ...part });
    }
  }
  return all;
}

async function allEntries(stream: Buffer) {
  return (await Array.fromAsync(layerStreamEntries(parseSplitstream(stream, "sha256")))).flat();
}
