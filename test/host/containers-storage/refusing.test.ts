import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { readConfig, readManifest } from "#stores/containers-storage/images.ts";
import { bigDataName } from "#stores/containers-storage/layout.ts";
import { dropLayers, removeImage } from "#stores/containers-storage/remove.ts";
import {
  layerChain,
  listImages,
  listIncompleteImages,
  listLayers,
  openImageStore,
} from "#stores/containers-storage/store.ts";

/** Records as no podman writes them, and the store that they make. */
interface Records {
  readonly images: unknown;
  readonly layers: unknown;
  readonly volatile?: unknown;
}

const digest = (bytes: string): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const id = (character: string): string => character.repeat(64);

const diffIds = [digest("base"), digest("top")];
const config = JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } });
const manifest = JSON.stringify({
  schemaVersion: 2,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest(config), size: config.length },
  layers: [],
});
const image = {
  id: id("1"),
  digest: digest(manifest),
  names: ["localhost/one:1"],
  layer: id("b"),
  "big-data-names": ["manifest", digest(config)],
  "big-data-digests": { manifest: digest(manifest) },
};
const base = { id: id("a"), "diff-digest": diffIds[0], "diff-size": 1 };
const top = { id: id("b"), parent: id("a"), "diff-digest": diffIds[1] };
const whole: Records = { images: [image], layers: [base, top] };

describe("a store whose image", () => {
  const cases: readonly [string, Records, RegExp][] = [
    ["has no manifest yet", { ...whole, images: [{ ...image, "big-data-names": null }] }, /no manifest yet/],
    ["has no config yet", { ...whole, images: [{ ...image, "big-data-names": ["manifest"] }] }, /no config yet/],
    [
      "has another manifest",
      { ...whole, images: [{ ...image, "big-data-digests": { manifest: digest("other") } }] },
      /does not have the digest/,
    ],
    ["lacks a layer", { ...whole, layers: [top] }, /layer a+ is not in the store/],
    [
      "has an unfinished layer",
      { ...whole, layers: [{ ...base, flags: { incomplete: true } }, top] },
      /layer a+ is not finished/,
    ],
    [
      "has other layers than its config",
      { ...whole, layers: [{ ...base, "diff-digest": digest("other") }, top] },
      /not those that its config names/,
    ],
    [
      "has a layer that is its own ancestor",
      { ...whole, layers: [{ ...base, parent: id("b") }, top] },
      /its own ancestor/,
    ],
    [
      "has an id that is a path",
      { ...whole, images: [{ ...image, id: `../overlay-images/${id("1")}` }] },
      /not one of podman's/,
    ],
    [
      "has a layer whose id is a path",
      { ...whole, layers: [base, { ...top, id: `../overlay/${id("b")}` }] },
      /not in the store/,
    ],
  ];
  for (const [what, records, why] of cases) {
    test(`${what} does not list it`, async () => {
      await using store = await makeStore(records);
      const opened = openImageStore(store.path);
      assert.deepEqual(listImages(opened), []);
      const [incomplete] = listIncompleteImages(opened);
      assert.match(incomplete?.why ?? "", why);
    });
  }

  test("is whole lists it, wherever its layers are recorded", async () => {
    await using store = await makeStore({ images: [image], layers: [base], volatile: [top] });
    const opened = openImageStore(store.path);
    const [listed] = listImages(opened);
    assert.ok(listed);
    assert.deepEqual(
      layerChain(opened, listed).map((layer) => layer.id),
      [id("a"), id("b")],
    );
    assert.equal(readManifest(listed).toString(), manifest);
    assert.equal(readConfig(listed).toString(), config);
    assert.deepEqual(listIncompleteImages(opened), []);
    await removeImage(opened, listed);
    assert.deepEqual(listLayers(opened), []);
  });

  test("changes under its reader's eyes is read anew", async () => {
    await using store = await makeStore(whole);
    const opened = openImageStore(store.path);
    const [listed] = listImages(opened);
    assert.ok(listed);
    const path = join(store.path, "overlay-images/images.json");
    writeFileSync(`${path}.new`, JSON.stringify([{ ...image, names: ["localhost/two:1"] }]));
    renameSync(`${path}.new`, path);
    assert.deepEqual(
      listImages(opened).map(({ names }) => names),
      [["localhost/two:1"]],
    );
    writeFileSync(join(store.path, "overlay-images", image.id, "manifest"), "changed");
    assert.throws(() => readManifest(listed), { code: "corrupt", message: /does not have the digest/ });
    rmSync(join(store.path, "overlay-images", image.id), { recursive: true });
    assert.throws(() => readConfig(listed), { code: "not-found" });
  });
});

describe("record files that cannot be understood are refused, and nothing is changed", () => {
  const cases: readonly [string, string, RegExp][] = [
    ["cut off", JSON.stringify([base, top]).slice(0, -5), /JSON/],
    ["not a list", JSON.stringify({ id: id("a") }), /the whole/],
    ["a number for an id", JSON.stringify([{ ...base, id: 1 }]), /0\.id/],
    ["a digest that is a path", JSON.stringify([{ ...base, "diff-digest": "sha256:../../etc" }]), /0\.diff-digest/],
    ["a negative size", JSON.stringify([{ ...base, "diff-size": -1 }]), /0\.diff-size/],
  ];
  for (const [what, text, why] of cases) {
    test(what, async () => {
      await using store = await makeStore({ ...whole, layers: [base, top] });
      writeFileSync(join(store.path, "overlay-layers/layers.json"), text);
      const opened = openImageStore(store.path);
      assert.throws(() => listImages(opened), { code: "corrupt", message: why });
      await assert.rejects(removeImage(opened, image), { code: "corrupt", message: why });
      await assert.rejects(dropLayers(opened, [base.id]), { code: "corrupt" });
    });
  }
});

test("what is no store, or one of another driver, is refused", async () => {
  await using folder = await makeTemporaryFolder("refuse");
  assert.throws(() => openImageStore(join(folder.path, "none")), { code: "not-found" });
  mkdirSync(join(folder.path, "vfs-layers"));
  assert.throws(() => openImageStore(folder.path), { code: "unsupported", message: /vfs/ });
});

async function makeStore(records: Records): Promise<Awaited<ReturnType<typeof makeTemporaryFolder>>> {
  const folder = await makeTemporaryFolder("refuse");
  const data = join(folder.path, "overlay-images", image.id);
  mkdirSync(data, { recursive: true });
  mkdirSync(join(folder.path, "overlay-layers"));
  writeFileSync(join(data, "manifest"), manifest);
  writeFileSync(join(data, bigDataName(digest(config))), config);
  writeFileSync(join(folder.path, "overlay-images/images.json"), JSON.stringify(records.images));
  writeFileSync(join(folder.path, "overlay-layers/layers.json"), JSON.stringify(records.layers));
  writeFileSync(join(folder.path, "overlay-layers/volatile-layers.json"), JSON.stringify(records.volatile ?? null));
  return folder;
}
