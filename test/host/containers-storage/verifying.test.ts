import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { byteString } from "#base/bytes.ts";
import { addImage, addLayer } from "#fixtures/oci-layout.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import {
  device,
  directory,
  type Entry,
  fifo,
  file,
  globalPax,
  hardlink,
  opaque,
  sparse,
  symlink,
  whiteout,
} from "#fixtures/tar-writer.ts";
import { openLayerContents } from "#stores/containers-storage/layer-contents.ts";
import { layerDataFolder } from "#stores/containers-storage/layout.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import { layerChain, listImages, openImageStore } from "#stores/containers-storage/store.ts";
import { type LayerVerification, verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import { makeTestStore, podmanAt, pull, type TestStore, versions } from "./podman-store.ts";

const oddName = Buffer.from("dir/odd-\xff\xfe", "latin1");

const hardCases: readonly Entry[] = [
  globalPax({ comment: "for all that follows" }),
  directory("./"),
  directory("./dir", { mode: 0o1777, uid: 5, gid: 6 }),
  file("./dir/content", Buffer.alloc(3_000_000, "content"), { mode: 0o4755, mtime: "1700000000.123456789" }),
  file("./dir/empty"),
  file("dir/attributes", "x", {
    xattrs: {
      "user.note": "a\0b",
      "security.capability": Buffer.from("0100000200040000000000000000000000000000", "hex"),
    },
  }),
  file(oddName, "not UTF-8"),
  file(`dir/${"n".repeat(255)}`, "longest name"),
  file(`${"deep/".repeat(60)}file`, "implied folders"),
  symlink("dir/link", "../dir/content"),
  symlink("dir/loop", "loop"),
  symlink("dir/away", "/etc/passwd"),
  symlink("absolute", "/dir"),
  file("absolute/through-absolute", "podman unpacks it where the link leads within the layer"),
  hardlink("dir/hardlink", "./dir/content", { uid: 7 }),
  hardlink("dir/hardlink-to-link", "dir/link"),
  fifo("dir/fifo"),
  device("dir/null", "char", [1, 3]),
  device("dir/disk", "block", [8, 0]),
];

const whiteouts: readonly Entry[] = [
  whiteout("dir/empty"),
  directory("deep"),
  opaque("deep"),
  file("deep/new", "new"),
  whiteout("dir/not-there-before"),
];

for (const version of versions) {
  describe(`layers that podman ${version} has unpacked`, () => {
    test("give back their tars, whatever is in them", async () => {
      await using store = await makeTestStore(version);
      const trailing = Buffer.alloc(1_500_000, "after the end");
      const sources = [
        { entries: hardCases },
        { entries: whiteouts, options: { dialect: "gnu", trailing } },
        { entries: [file("dir/empty", "filled"), file("x", "y")], options: { dialect: "ustar" } },
      ] as const;
      const layers = await Promise.all(sources.map((source) => addLayer(store.layout, source)));
      addImage(store.layout, { tag: "hard", layers });
      for (const layer of await pulledLayers(store, "hard"))
        assert.deepEqual(await verify(layer), { outcome: "verified" });
    });

    test("with a sparse file cannot be verified, but still be found damaged", async () => {
      await using store = await makeTestStore(version);
      const entries = [
        sparse("holes", 1_000_000, [{ offset: 500_000, bytes: Buffer.from("island") }]),
        file("other", "other"),
      ];
      addImage(store.layout, { tag: "sparse", layers: [await addLayer(store.layout, { entries })] });
      const [layer] = await pulledLayers(store, "sparse");
      assert.ok(layer);
      const verified = await verify(layer);
      assert.equal(verified.outcome, "not-verifiable");
      flipByte(join(layer.diffPath, "holes"), 500_001);
      assertDamaged(await verify(layer), "holes", /content has changed/);
    });

    test("are found damaged by a flipped byte, a cut, a loss", async () => {
      await using store = await makeTestStore(version);
      addImage(store.layout, { tag: "hard", layers: [await addLayer(store.layout, { entries: hardCases })] });
      const [layer] = await pulledLayers(store, "hard");
      assert.ok(layer);
      const inDiff = (name: string): string => join(layer.diffPath, name);
      const damages: readonly [string, RegExp, (path: string) => void][] = [
        ["./dir/content", /content has changed/, (path) => flipByte(path, 2_999_999)],
        ["./dir/content", /2999999 bytes and not 3000000/, (path) => truncateSync(path, 2_999_999)],
        ["dir/attributes", /the file is missing/, (path) => unlinkSync(path)],
        ["dir/attributes", /2 bytes and not 1/, (path) => writeFileSync(path, "xy")],
        ["dir/attributes", /the file is missing/, (path) => replaceBy(path, () => symlinkSync("content", path))],
        ["dir/attributes", /the file is missing/, (path) => replaceBy(path, () => execFileSync("mkfifo", [path]))],
        ["./dir/empty", /the file is missing/, (path) => unlinkSync(path)],
        ["./dir/empty", /should be empty/, (path) => writeFileSync(path, "full")],
        ["dir/link", /the link is missing/, (path) => unlinkSync(path)],
        ["dir/link", /leads to elsewhere/, (path) => replaceBy(path, () => symlinkSync("elsewhere", path))],
        [
          "dir/hardlink-to-link",
          /no longer the same file/,
          (path) => replaceBy(path, () => symlinkSync("../dir/content", path)),
        ],
        ["dir/fifo", /the FIFO is missing/, (path) => unlinkSync(path)],
      ];
      for (const [name, why, damage] of damages) {
        execFileSync("cp", ["-a", layer.diffPath, `${layer.diffPath}.whole`]);
        damage(inDiff(name));
        assertDamaged(await verify(layer), name, why);
        rmSync(layer.diffPath, { recursive: true });
        renameSync(`${layer.diffPath}.whole`, layer.diffPath);
        assert.deepEqual(await verify(layer), { outcome: "verified" }, `after ${name}`);
      }
    });

    test("are found damaged where whiteouts or the whole diff are lost", async () => {
      await using store = await makeTestStore(version);
      const layers = [
        await addLayer(store.layout, { entries: hardCases }),
        await addLayer(store.layout, { entries: whiteouts }),
      ];
      addImage(store.layout, { tag: "white", layers });
      const [base, top] = await pulledLayers(store, "white");
      assert.ok(base && top);
      execFileSync("setfattr", ["-x", "trusted.overlay.opaque", join(top.diffPath, "deep")]);
      assertDamaged(await verify(top), "deep/.wh..wh..opq", /not marked opaque/);
      unlinkSync(join(top.diffPath, "dir/empty"));
      assertDamaged(await verify(top), "dir/.wh.empty", /whiteout is missing/);
      rmSync(base.diffPath, { recursive: true });
      const gone = await verify(base);
      assert.ok(gone.outcome === "damaged" && /gone/.test(gone.why));
    });

    test("are found damaged by their tar-split file, and cannot be verified without it", async () => {
      await using store = await makeTestStore(version);
      addImage(store.layout, {
        tag: "small",
        layers: [await addLayer(store.layout, { entries: [file("a", "a"), file("b", "b")] })],
      });
      const [layer] = await pulledLayers(store, "small");
      assert.ok(layer);
      const original = readFileSync(layer.tarSplitPath);
      const lines = gunzipSync(original).toString("utf8");
      const faults: readonly [Buffer, RegExp][] = [
        [original.subarray(0, original.length - 20), /tar-split file .* is damaged/],
        [Buffer.from("not gzip"), /tar-split file .* is damaged/],
        [gzipSync(lines.slice(0, -30)), /tar-split file .* is damaged/],
        [gzipSync(lines.replace(/"name":"b"/, '"name":"../b"')), /tar-split file .* is damaged/],
        // The tar's end, cut off: all headers and contents are right.
        [gzipSync(`${lines.split("\n").slice(0, 4).join("\n")}\n`), /though each file has the right checksum/],
      ];
      for (const [bytes, why] of faults) {
        writeFileSync(layer.tarSplitPath, bytes);
        const found = await verify(layer);
        assert.ok(found.outcome === "damaged" && why.test(found.why), JSON.stringify(found));
      }
      unlinkSync(layer.tarSplitPath);
      assert.equal((await verify(layer)).outcome, "not-verifiable");
    });

    test("never lead out of their diff", async () => {
      await using store = await makeTestStore(version);
      const entries = [directory("dir"), file("dir/file", "inside")];
      addImage(store.layout, { tag: "trap", layers: [await addLayer(store.layout, { entries })] });
      const [layer] = await pulledLayers(store, "trap");
      assert.ok(layer);
      const outside = join(store.folder, "outside");
      renameSync(join(layer.diffPath, "dir"), outside);
      // The very content that would satisfy the check, but not in the layer.
      symlinkSync(outside, join(layer.diffPath, "dir"));
      assertDamaged(await verify(layer), "dir/", /not a folder/);
    });
  });
}

describe("layers that podman 5.8 has pulled file by file", () => {
  test("give back their tars", async () => {
    await using partial = await pullPartially();
    assert.deepEqual(await verify(partial.layer), { outcome: "verified" });
    assert.ok(existsSync(layerDataFolder(partial.layer.root, partial.layer.id)), "it has a table of contents");
    flipByte(join(partial.layer.diffPath, "dir/file"), 3);
    assertDamaged(await verify(partial.layer), "dir/file", /content has changed/);
  });

  test("cannot be verified where they are kept as composefs", async () => {
    await using partial = await pullPartially("--storage-opt", "overlay.use_composefs=true");
    assert.deepEqual(await verify(partial.layer), {
      outcome: "not-verifiable",
      why: "it is stored as a composefs image",
    });
    assert.throws(() => openLayerContents(partial.layer, []), { code: "unsupported" });
  });
});

/** Podman converts an ordinary layer to zstd:chunked as it comes from a registry, and then stores it file by file. */
async function pullPartially(...global: string[]): Promise<{ layer: LayerRecord } & AsyncDisposable> {
  await using cleanup = new AsyncDisposableStack();
  const source = cleanup.use(await makeTestStore("5.8"));
  const entries = [directory("dir"), file("dir/file", Buffer.alloc(100_000, "chunked")), symlink("link", "dir/file")];
  addImage(source.layout, { tag: "part:1", layers: [await addLayer(source.layout, { entries })] });
  const registry = cleanup.use(await makeRegistry({ layouts: [source.layout] }));
  const storageConf = join(source.folder, "storage.conf");
  const options = '[storage.options]\npull_options = { enable_partial_images = "true", convert_images = "true" }\n';
  writeFileSync(storageConf, `[storage]\ndriver = "overlay"\n${options}`);
  const env = { CONTAINERS_STORAGE_CONF: storageConf, CONTAINERS_REGISTRIES_CONF: registry.registriesConf };
  const podman = podmanAt("5.8", source.folder, { global, env });
  await podman.run("pull", "--quiet", `${registry.address}/part:1`);
  const [layer] = chainOf(podman.root);
  assert.ok(layer);
  const owned = cleanup.move();
  return { layer, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const chains = new WeakMap<LayerRecord, readonly LayerRecord[]>();

async function pulledLayers(store: TestStore, tag: string): Promise<LayerRecord[]> {
  await pull(store, tag);
  return chainOf(store.podman.root);
}

/** Of the only image. */
function chainOf(root: string): LayerRecord[] {
  const opened = openImageStore(root);
  const [image] = listImages(opened);
  assert.ok(image);
  const chain = layerChain(opened, image);
  for (const layer of chain) chains.set(layer, chain);
  return chain;
}

async function verify(layer: LayerRecord): Promise<LayerVerification> {
  return await verifyLayer(layer, chains.get(layer) ?? []);
}

function assertDamaged(found: LayerVerification, path: string, why: RegExp): void {
  assert.equal(found.outcome, "damaged");
  assert.equal(found.path, byteString(Buffer.from(path)));
  assert.match(found.why, why);
}

function flipByte(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  utimesSync(path, 1, 1);
}

function replaceBy(path: string, make: () => void): void {
  unlinkSync(path);
  make();
}
