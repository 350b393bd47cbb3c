import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, globalPax, hardlink, sparse, symlink, writeTar } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { crc64 } from "#formats/crc64.ts";
import type { TarEntry } from "#formats/tar.ts";
import { TarHeaderReader, TarSplitParser, type TarSplitRecord } from "#formats/tar-split.ts";
import { membersOf } from "../../unit/formats/tar-members.ts";

before(() => ensurePackages(["skopeo"]));

/** The lines that containers/storage keeps of a layer, unpacked. */
async function tarSplitOf(tar: Buffer): Promise<Buffer> {
  await using folder = await makeTemporaryFolder("formats-split");
  const tarFile = join(folder.path, "layer");
  writeFileSync(tarFile, tar);
  const layout = makeOciLayout(join(folder.path, "layout"));
  addImage(layout, { tag: "1", layers: [await addLayer(layout, { tarFile })] });
  const store = join(folder.path, "store");
  const target = `containers-storage:[overlay@${store}+${join(folder.path, "run")}]localhost/image:1`;
  const copy = ["skopeo", "copy", "--insecure-policy", "--quiet", `oci:${layout.folder}:1`, target];
  // The store's driver leaves a mount behind.
  await runProgram("unshare", ["--mount", "--propagation", "private", ...copy]);
  const [name] = readdirSync(join(store, "overlay-layers")).filter((entry) => entry.endsWith(".tar-split.gz"));
  assert.ok(name !== undefined);
  return gunzipSync(readFileSync(join(store, "overlay-layers", name)));
}

function read(lines: Buffer): { record: TarSplitRecord; entry: TarEntry | undefined }[] {
  const parser = new TarSplitParser();
  const reader = new TarHeaderReader();
  const records = parser.push(lines).map((record) => ({ record, entry: reader.accept(record) }));
  parser.end();
  reader.end();
  return records;
}

const longName = Array.from({ length: 4 }, () => "n".repeat(80)).join("/");
const strange: Entry[] = [
  globalPax({ comment: "podman ignores this" }),
  directory("."),
  directory("./d", { mtime: 1_700_000_000 }),
  file("./d/a", "hello\n", { uid: 1000, xattrs: { "user.k": "v" }, mtime: "1700000000.5" }),
  // a second one of the same name podman would take for the same file twice
  { ...globalPax({ comment: "x".repeat(700) }), name: "second" },
  file(Buffer.from("d/\xff\xfe", "latin1"), "not UTF-8"),
  file("d/<&>\u2028ü", "escaped in JSON"),
  file("d/x", "x".repeat(512)),
  file("d/empty"),
  file(longName, "long"),
  hardlink("d/h", "./d/a"),
  symlink("d/s", longName),
  { name: "old/", flag: "\0", mode: 0o755 },
  file("d/.wh.gone"),
  file("d/.wh..wh..opq"),
];

const layers = {
  "PAX, and junk behind the end": [...writeTar(strange, { trailing: Buffer.from("junk") })],
  "GNU, and zeros behind the end": [...writeTar(strange, { dialect: "gnu", trailing: Buffer.alloc(8195) })],
  "1.5 MB behind the end": [...writeTar([file("a", "x")], { trailing: Buffer.alloc(1_500_000, "j") })],
  "no blocks at the end": [Buffer.concat([...writeTar([file("a", "x".repeat(600))])]).subarray(0, -1024)],
  "no members": [Buffer.alloc(1024)],
};

describe("what containers/storage keeps of a layer gives back its members and its tar", () => {
  for (const [what, chunks] of Object.entries(layers)) {
    test(what, async () => {
      const tar = Buffer.concat(chunks);
      const members = membersOf(tar);
      const records = read(await tarSplitOf(tar));
      const entries = records.flatMap(({ entry }) => entry ?? []);
      assert.deepEqual(
        entries,
        members.map(({ entry }) => entry),
      );
      const contents = new Map(members.map(({ entry, content }) => [entry.name, content]));
      const pieces = records.map(({ record }) => {
        if (record.type === "segment") return record.bytes;
        const content = contents.get(record.name) ?? Buffer.alloc(0);
        assert.deepEqual(record.crc64, content.length === 0 ? undefined : crc64(content), record.name);
        return content;
      });
      assert.ok(Buffer.concat(pieces).equals(tar));
    });
  }

  test("but for a sparse file's map", async () => {
    const pieces = [{ offset: 0, bytes: Buffer.from("d") }];
    const records = read(
      await tarSplitOf(Buffer.concat([...writeTar([sparse("s", 8192, pieces), file("next", "n")])])),
    );
    assert.deepEqual(
      records.flatMap(({ entry }) => (entry === undefined ? [] : [[entry.name, entry.size, entry.sparse]])),
      [
        ["s", 8192, true],
        ["next", 1, false],
      ],
    );
  });
});
