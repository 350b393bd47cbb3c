import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { byteString } from "#base/bytes.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, globalPax, hardlink, sparse, symlink, writeTar } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { type ObjectId, objectIdOf } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { type FileContent, layerStreamEntries, makeLayerStream } from "#formats/splitstream-layer.ts";
import { TarHeaders } from "#formats/tar-headers.ts";
import type { TarSplitRecord } from "#formats/tar-split.ts";
import { objectFile } from "#stores/composefs/objects.ts";
import { publishLayers } from "#stores/composefs/oci-images.ts";
import { createRepository, defaultSettings, type Repository } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged } from "#stores/composefs/staging.ts";
import { contentOfStream, digestOfStream } from "#stores/composefs/stream-content.ts";
import { readStream } from "#stores/composefs/streams.ts";
import { piecesOfTar, sha256, stageLayer, type TarPiece } from "./layers.ts";

async function withRepository(run: (repository: Repository, folder: string) => Promise<void>): Promise<void> {
  await using folder = await makeTemporaryFolder("composefs-layers");
  await run(createRepository(join(folder.path, "composefs"), { ...defaultSettings, verity: "no" }), folder.path);
}

const longName = Array.from({ length: 4 }, () => "n".repeat(80)).join("/");
const strange: Entry[] = [
  globalPax({ comment: "nobody reads this" }),
  directory("."),
  file("a", "hello\n", { uid: 1000, xattrs: { "user.k": "v" }, mtime: "1700000000.5" }),
  file(Buffer.from("\xff\xfe", "latin1"), "not UTF-8"),
  file("s64", "x".repeat(64)),
  file("s65", "x".repeat(65)),
  file("s512", "x".repeat(512)),
  file("s513", "y".repeat(513)),
  file("empty"),
  file(longName, "long"),
  hardlink("h", "s65"),
  symlink("s", longName),
  file("again", "x".repeat(65)),
  file(".wh.gone"),
];

const tars: Readonly<Record<string, () => Buffer>> = {
  "PAX, and junk behind the end": () => Buffer.concat([...writeTar(strange, { trailing: Buffer.from("junk") })]),
  "GNU, and a record's padding": () =>
    Buffer.concat([...writeTar(strange, { dialect: "gnu", trailing: Buffer.alloc(8195) })]),
  "no blocks at the end": () => Buffer.concat([...writeTar([file("a", "x".repeat(600))])]).subarray(0, -1024),
  "no members": () => Buffer.alloc(1024),
  "files larger than a piece": () =>
    Buffer.concat([...writeTar([file("a", randomBytes(3_000_000)), file("b", randomBytes(1 << 20))])]),
};

for (const [what, make] of Object.entries(tars)) {
  test(`a layer's stream gives the layer again: ${what}`, () =>
    withRepository(async (repository) => {
      const tar = make();
      {
        using staging = makeStaging(repository);
        publishLayers(repository, staging, [await stageLayer(repository, staging, tar)]);
      }
      const id = objectIdOf(
        verityDigest("sha512", readFileSync(join(repository.path, `streams/oci-layer-${sha256(tar)}`))),
      );
      const stream = readStream(repository, id);
      assert.equal(stream.size, tar.length);
      assert.equal(await digestOfStream(repository, stream, "sha256"), sha256(tar));
      assert.equal(
        await digestOfStream(repository, stream, "sha512"),
        `sha512:${createHash("sha512").update(tar).digest("hex")}`,
      );
      const contents = piecesOfTar(tar).flatMap(({ kind, bytes }) => (kind === "content" ? [bytes] : []));
      const entries = (await Array.fromAsync(layerStreamEntries(stream))).flat();
      const held = entries.flatMap(({ content }) => {
        if (content === undefined) return [];
        return [content.kind === "inline" ? content.bytes : readFileSync(objectFile(repository, content.id))];
      });
      assert.deepEqual(held, contents);
      assert.deepEqual(
        entries.map(({ entry }) => entry.name),
        namesOf(tar),
      );
    }));
}

/** Of the members but the global headers. */
function namesOf(tar: Buffer): string[] {
  const headers = new TarHeaders();
  const names: string[] = [];
  for (let position = 0; position < tar.length; ) {
    position = headers.read(tar, position);
    const member = headers.take();
    position += member?.contentLength ?? 0;
    if (member !== undefined && !member.isGlobalHeader) names.push(member.entry.name);
  }
  return names;
}

for (const format of ["gnu", "pax", "ustar"]) {
  test(`GNU tar's layers (${format}) come again, and tar reads them`, () =>
    withRepository(async (repository, folder) => {
      const files = join(folder, "files");
      mkdirSync(join(files, "d/e"), { recursive: true });
      for (let i = 0; i < 300; i++)
        writeFileSync(join(files, i % 2 === 0 ? "d" : "d/e", `file ${i}`), randomBytes((i * i) % 5000));
      const tarFile = join(folder, "layer.tar");
      await runProgram("tar", ["--create", `--format=${format}`, "--file", tarFile, "--directory", files, "."]);
      const tar = readFileSync(tarFile);
      using staging = makeStaging(repository);
      const layer = await stageLayer(repository, staging, tar);
      publishStaged(repository, staging);
      const again = join(folder, "again.tar");
      const pieces: Buffer[] = [];
      for await (const piece of contentOfStream(repository, readStream(repository, layer.stream)))
        pieces.push(Buffer.from(piece));
      writeFileSync(again, Buffer.concat(pieces));
      await runProgram("cmp", [tarFile, again]);
      await runProgram("tar", ["--compare", "--file", again, "--directory", files]);
    }));
}

/** The records that tar-split keeps of a tar. */
function recordsOf(tar: Buffer): TarSplitRecord[] {
  const headers = new TarHeaders();
  const records: TarSplitRecord[] = [];
  for (let position = 0; position < tar.length; ) {
    const end = headers.read(tar, position);
    records.push({ type: "segment", bytes: tar.subarray(position, end) });
    const member = headers.take();
    position = end + (member?.contentLength ?? 0);
    if (member === undefined) continue;
    records.push({ type: "file", name: member.entry.name, size: member.statedSize, crc64: undefined });
  }
  return records;
}

async function* batches(records: TarSplitRecord[]): AsyncGenerator<TarSplitRecord[]> {
  for (let i = 0; i < records.length; i += 100) yield records.slice(i, i + 100);
}

test("the stream made from tar-split is that made from the tar", () =>
  withRepository(async (repository) => {
    using staging = makeStaging(repository);
    for (const make of Object.values(tars)) {
      const tar = make();
      const contents = piecesOfTar(tar).flatMap(({ kind, bytes }) => (kind === "content" ? [bytes] : []));
      const contentOf = (): FileContent => {
        const bytes = contents.shift() ?? assert.fail("no more contents");
        if (bytes.length <= 64) return { kind: "inline", bytes };
        return { kind: "object", id: objectIdOf(verityDigest("sha512", bytes)) };
      };
      const stream = await makeLayerStream("sha512", batches(recordsOf(tar)), contentOf);
      assert.deepEqual(contents, []);
      assert.equal(objectIdOf(verityDigest("sha512", stream)), (await stageLayer(repository, staging, tar)).stream);
    }
  }));

test("zstd unpacks what a stream holds compressed", () =>
  withRepository(async (repository, folder) => {
    using staging = makeStaging(repository);
    const tar = Buffer.concat([...writeTar(strange)]);
    const { stream } = await stageLayer(repository, staging, tar);
    publishStaged(repository, staging);
    const { body } = readStream(repository, stream);
    writeFileSync(join(folder, "body.zst"), body);
    await runProgram("zstd", ["--quiet", "--decompress", join(folder, "body.zst")]);
    const plain = readFileSync(join(folder, "body"));
    // A chunk: how many bytes there are, below zero, and these; or which object.
    const inline: Buffer[] = [];
    for (let position = 0; position < plain.length; ) {
      const number = Number(plain.readBigInt64LE(position));
      position += 8;
      if (number >= 0) continue;
      inline.push(plain.subarray(position, position - number));
      position -= number;
    }
    const isInline = ({ kind, bytes }: TarPiece) => kind === "tar" || bytes.length <= 64;
    assert.deepEqual(
      Buffer.concat(inline),
      Buffer.concat(
        piecesOfTar(tar)
          .filter(isInline)
          .map(({ bytes }) => bytes),
      ),
    );
  }));

test("a sparse file is refused: tar-split does not know how its tar had it", async () => {
  const tar = Buffer.concat([...writeTar([sparse("s", 100_000, [{ offset: 4096, bytes: Buffer.alloc(4096, "d") }])])]);
  const contentOf = (): FileContent => ({ kind: "object", id: "0".repeat(128) as ObjectId });
  await assert.rejects(makeLayerStream("sha512", batches(recordsOf(tar)), contentOf), { code: "unsupported" });
});

test("a stream whose objects are missing, or too large, is refused in the middle", () =>
  withRepository(async (repository) => {
    using staging = makeStaging(repository);
    const tar = Buffer.concat([...writeTar([file("a", "x".repeat(1000))])]);
    const { stream } = await stageLayer(repository, staging, tar);
    publishStaged(repository, staging);
    const head = readStream(repository, stream);
    const [object] = head.objectRefs;
    const path = objectFile(repository, object ?? assert.fail());
    writeFileSync(path, Buffer.alloc(10_000_000));
    await assert.rejects(digestOfStream(repository, head, "sha256"), { code: "corrupt", message: /as it claims/ });
    writeFileSync(path, Buffer.alloc(999));
    await assert.rejects(digestOfStream(repository, head, "sha256"), { code: "corrupt", message: /as it claims/ });
    await runProgram("rm", [path]);
    await assert.rejects(digestOfStream(repository, head, "sha256"), { code: "corrupt", message: /is missing/ });
  }));

test("the stream of a layer of 20,000 files takes far less than a second", { timeout: 60_000 }, async (t) => {
  const id = (i: number) => createHash("sha512").update(String(i)).digest("hex") as ObjectId;
  const entries = Array.from({ length: 20_000 }, (_, i) =>
    file(`usr/share/doc/package-${i >> 4}/file-${i}`, "x".repeat(65)),
  );
  const tar = Buffer.concat([...writeTar(entries)]);
  const records = recordsOf(tar);
  const ids = new Map(entries.map((entry, i) => [byteString(Buffer.from(entry.name)), id(i)]));
  const started = performance.now();
  const stream = await makeLayerStream("sha512", batches(records), ({ name }) => ({
    kind: "object",
    id: ids.get(name) ?? assert.fail(name),
  }));
  const took = performance.now() - started;
  t.diagnostic(`${took.toFixed(0)} ms for ${tar.length} bytes of tar, ${stream.length} of stream`);
  assert.ok(took < 1500, `${took} ms`);
});
