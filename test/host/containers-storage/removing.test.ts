import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import * as v from "valibot";
import { runProgram } from "#fixtures/programs.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { dropLayers, removeImage, sweepLayers, untag } from "#stores/containers-storage/remove.ts";
import {
  findImage,
  type ImageStore,
  layerChain,
  listImages,
  listLayers,
  openImageStore,
} from "#stores/containers-storage/store.ts";
import { unreferencedLayers } from "#stores/containers-storage/unreferenced-layers.ts";
import { verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import {
  addTwoImages,
  makeTestStore,
  type Podman,
  type PodmanVersion,
  pull,
  type TestStore,
  versions,
} from "./podman-store.ts";
import { listStore } from "./store-listing.ts";

for (const version of versions) {
  describe(`a store of podman ${version}`, () => {
    test("is left as podman rmi leaves it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const other = imageOf(opened, store.other);
      const referee = await refereed(store, () => store.podman.run("rmi", other.id));

      const removed = await removeImage(opened, other);
      assert.deepEqual(listStore(store.podman.root), referee);
      assert.deepEqual(removed.images, [other.id]);
      assert.equal(removed.layers.length, 2);
      assert.equal(removed.layers[0], other.topLayer, "the top layer goes first");
      assert.deepEqual(
        listImages(opened).map(({ id }) => id),
        [store.app],
      );

      await removeImage(opened, imageOf(opened, store.app));
      assert.deepEqual(listLayers(opened), []);
      assert.deepEqual(readdirSync(join(store.podman.root, "overlay", "l")), []);
      assert.equal((await store.podman.run("images", "--quiet")).trim(), "");
    });

    test("goes on to work: podman lists, mounts, pulls and checks it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      await removeImage(opened, imageOf(opened, store.app));
      await assertWhole(store, store.other);
      await pull(store, "app");
      await assertWhole(store, store.app);
      const images = listImages(opened);
      assert.equal(images.length, 2);
      for (const layer of images.flatMap((image) => layerChain(opened, image))) {
        assert.deepEqual(await verifyLayer(layer, [layer]), { outcome: "verified" });
      }
    });

    test("loses a name as with podman untag", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const { id, names } = imageOf(opened, store.app);
      assert.equal(names.length, 1);
      await store.podman.run("tag", id, "registry.example/app:2");
      for (const name of [...names, "registry.example/app:2"]) {
        const referee = await refereed(store, () => store.podman.run("untag", id, name));
        assert.equal(await untag(opened, { id }, name), true);
        assert.deepEqual(listStore(store.podman.root), referee);
        assert.equal(await untag(opened, { id }, name), false);
        assert.equal(findImage(opened, { name }), undefined);
      }
      assert.ok(findImage(opened, { id }), "an image without names stays");
      await assert.rejects(untag(opened, { id: "0".repeat(64) }, "x"), { code: "not-found" });
    });

    test("keeps what it does not know", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const files = ["overlay-images/images.json", "overlay-layers/layers.json"].map((path) =>
        join(store.podman.root, path),
      );
      const unknown = '"later":{"big":12345678901234567890,"one":1.0,"text":"\\u003c,]}\\"","none":null},"10":0,';
      for (const path of files)
        writeFileSync(path, readFileSync(path, "utf8").replaceAll('{"id":', ` {${unknown}"id":`));
      await removeImage(opened, imageOf(opened, store.other));
      const [images = "", layers = ""] = files.map((path) => readFileSync(path, "utf8"));
      assert.equal(images.split(unknown).length - 1, 1);
      assert.equal(layers.split(unknown).length - 1, 2);
      await assertWhole(store, store.app);
    });

    test("refuses while a container stands on it, and is not touched", async () => {
      await using store = await makeStoreOfTwo(version);
      await store.podman.run("create", "--name", "user", "--network", "none", store.app, "/bin/tool");
      const opened = openImageStore(store.podman.root);
      const app = imageOf(opened, store.app);
      const before = listStore(store.podman.root);
      await assert.rejects(removeImage(opened, app), { code: "busy", message: /container user/ });
      await assert.rejects(
        dropLayers(
          opened,
          layerChain(opened, app).map(({ id }) => id),
        ),
        { code: "busy" },
      );
      assert.deepEqual(listStore(store.podman.root), before);
      assert.deepEqual(unreferencedLayers(opened), [], "a container's own layer is in use");
      // The base, which the container needs too, stays when the other image goes.
      await removeImage(opened, imageOf(opened, store.other));
      await store.podman.run("rm", "user");
      await removeImage(opened, app);
      assert.deepEqual(listLayers(opened), []);
    });

    test("loses damaged layers with what stands on them, and no others", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const other = imageOf(opened, store.other);
      const [, library, top] = layerChain(opened, other);
      assert.ok(library && top);
      const removed = await dropLayers(opened, [library.id]);
      assert.deepEqual(removed, { images: [other.id], layers: [top.id, library.id] });
      await assertWhole(store, store.app);
      await pull(store, "other");
      await assertWhole(store, store.other);
    });

    test("has layers without an image, which are swept if they still have none", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const [base, library, top] = layerChain(opened, imageOf(opened, store.other));
      assert.ok(base && library && top);
      // As a pull leaves them that was broken off before the image's record.
      dropImageRecord(store.podman, store.other);
      assert.deepEqual(new Set(unreferencedLayers(opened).map(({ id }) => id)), new Set([library.id, top.id]));
      assert.deepEqual(
        await sweepLayers(opened, [base.id, library.id]),
        { images: [], layers: [] },
        "both have something on them",
      );
      assert.deepEqual(await sweepLayers(opened, [library.id, top.id]), { images: [], layers: [top.id, library.id] });
      await assertWhole(store, store.app);
    });

    test("unmounts an image that podman has left mounted, unless something uses it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const app = imageOf(opened, store.app);
      const merged = join(store.podman.root, "overlay", app.topLayer ?? "", "merged");
      const lower = layerChain(opened, app)
        .toReversed()
        .map(({ diffPath }) => diffPath);
      await runProgram("mount", ["-t", "overlay", "overlay", "-o", `lowerdir=${lower.join(":")}`, merged]);
      const user = openSync(join(merged, "etc/app"), "r");
      const before = listImages(opened);
      await assert.rejects(removeImage(opened, app), { code: "busy", message: /is mounted at/ });
      assert.deepEqual(listImages(opened), before);
      closeSync(user);
      await removeImage(opened, app);
      assert.equal(existsSync(merged), false);
    });
  });
}

interface StoreOfTwo extends TestStore {
  /** Ids of its images. */
  readonly app: string;
  readonly other: string;
}

async function makeStoreOfTwo(version: PodmanVersion): Promise<StoreOfTwo> {
  const store = await makeTestStore(version);
  await addTwoImages(store.layout);
  const other = await pull(store, "other");
  return { ...store, other, app: await pull(store, "app") };
}

/** What the store looks like after `action`, which is then undone. The path stays the same: podman's database has it. */
async function refereed(store: TestStore, action: () => Promise<unknown>): Promise<Record<string, unknown>> {
  const before = `${store.podman.root}.before`;
  execFileSync("cp", ["-a", store.podman.root, before]);
  await action();
  const listing = listStore(store.podman.root);
  rmSync(store.podman.root, { recursive: true });
  renameSync(before, store.podman.root);
  return listing;
}

/** To podman. */
async function assertWhole(store: TestStore, id: string): Promise<void> {
  assert.match(await store.podman.run("images", "--quiet", "--no-trunc"), new RegExp(id));
  // The mount ends with podman's mount namespace.
  await store.podman.run("image", "mount", id);
  if (store.podman.version !== "4.3") await store.podman.run("system", "check");
}

function dropImageRecord(podman: Podman, id: string): void {
  const path = join(podman.root, "overlay-images/images.json");
  const records = v.parse(v.array(v.looseObject({ id: v.string() })), JSON.parse(readFileSync(path, "utf8")));
  writeFileSync(path, JSON.stringify(records.filter((record) => record.id !== id)));
}

function imageOf(store: ImageStore, id: string): ImageRecord {
  const image = findImage(store, { id });
  assert.ok(image, `no image ${id}`);
  return image;
}
