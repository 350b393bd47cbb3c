import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { dropLayers, removeImage, sweepLayers, untag } from "#stores/containers-storage/remove.ts";
import { findImage, type ImageStore, layerChain, listImages, listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import { unreferencedLayers } from "#stores/containers-storage/unreferenced-layers.ts";
import { verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import { addTwoImages, makeTestStore, type Podman, pull, type TestStore, versions } from "./podman-store.ts";
import { listStore } from "./store-listing.ts";

for (const version of versions) {
  describe(`a store of podman ${version}`, () => {
    test("is left as podman rmi leaves it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const other = imageNamed(opened, "localhost/other:1");
      const referee = await refereed(store, () => store.podman.run("rmi", other.id));

      const removed = await removeImage(opened, other);
      assert.deepEqual(listStore(store.podman.root), referee);
      assert.deepEqual(removed.images, [other.id]);
      assert.equal(removed.layers.length, 2);
      assert.equal(removed.layers[0], other.topLayer, "the top layer goes first");
      assert.deepEqual(listImages(opened).map(({ names }) => names), [["localhost/app:1"]]);

      await removeImage(opened, imageNamed(opened, "localhost/app:1"));
      assert.deepEqual(listLayers(opened), []);
      assert.deepEqual(readdirSync(join(store.podman.root, "overlay", "l")), []);
      assert.equal((await store.podman.run("images", "--quiet")).trim(), "");
    });

    test("goes on to work: podman lists, mounts, pulls and checks it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      await removeImage(opened, imageNamed(opened, "localhost/app:1"));
      await assertWhole(store, "other", version);
      await pull(store, "app");
      await assertWhole(store, "app", version);
      const images = listImages(opened);
      assert.equal(images.length, 2);
      for (const layer of images.flatMap((image) => layerChain(opened, image))) {
        assert.deepEqual(await verifyLayer(layer, [layer]), { outcome: "verified" });
      }
    });

    test("loses a name as with podman untag", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const { id } = imageNamed(opened, "localhost/app:1");
      await store.podman.run("tag", id, "registry.example/app:2");
      for (const name of ["localhost/app:1", "registry.example/app:2"]) {
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
      const files = ["overlay-images/images.json", "overlay-layers/layers.json"].map((path) => join(store.podman.root, path));
      const unknown = '"later":{"big":12345678901234567890,"one":1.0,"text":"\\u003c,]}\\"","none":null},"10":0,';
      for (const path of files) writeFileSync(path, readFileSync(path, "utf8").replaceAll('{"id":', ` {${unknown}"id":`));
      await removeImage(opened, imageNamed(opened, "localhost/other:1"));
      const [images = "", layers = ""] = files.map((path) => readFileSync(path, "utf8"));
      assert.equal(images.split(unknown).length - 1, 1);
      assert.equal(layers.split(unknown).length - 1, 2);
      await assertWhole(store, "app", version);
    });

    test("refuses while a container stands on it, and is not touched", async () => {
      await using store = await makeStoreOfTwo(version);
      await store.podman.run("create", "--name", "user", "--network", "none", "localhost/app:1", "/bin/tool");
      const opened = openImageStore(store.podman.root);
      const app = imageNamed(opened, "localhost/app:1");
      const before = listStore(store.podman.root);
      await assert.rejects(removeImage(opened, app), { code: "busy", message: /container user/ });
      await assert.rejects(dropLayers(opened, layerChain(opened, app).map(({ id }) => id)), { code: "busy" });
      assert.deepEqual(listStore(store.podman.root), before);
      assert.deepEqual(unreferencedLayers(opened), [], "a container's own layer is in use");
      // The base, which the container needs too, stays when the other image goes.
      await removeImage(opened, imageNamed(opened, "localhost/other:1"));
      await store.podman.run("rm", "user");
      await removeImage(opened, app);
      assert.deepEqual(listLayers(opened), []);
    });

    test("loses damaged layers with what stands on them, and no others", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const other = imageNamed(opened, "localhost/other:1");
      const [, library, top] = layerChain(opened, other);
      assert.ok(library && top);
      const removed = await dropLayers(opened, [library.id]);
      assert.deepEqual(removed, { images: [other.id], layers: [top.id, library.id] });
      await assertWhole(store, "app", version);
      await pull(store, "other");
      await assertWhole(store, "other", version);
    });

    test("has layers without an image, which are swept if they still have none", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const [base, library, top] = layerChain(opened, imageNamed(opened, "localhost/other:1"));
      assert.ok(base && library && top);
      // As a pull leaves them that was broken off before the image's record.
      dropImageRecord(store.podman, "localhost/other:1");
      assert.deepEqual(new Set(unreferencedLayers(opened).map(({ id }) => id)), new Set([library.id, top.id]));
      assert.deepEqual(await sweepLayers(opened, [base.id, library.id]), { images: [], layers: [] }, "both have something on them");
      assert.deepEqual(await sweepLayers(opened, [library.id, top.id]), { images: [], layers: [top.id, library.id] });
      await assertWhole(store, "app", version);
    });

    test("unmounts an image that podman has left mounted, unless something uses it", async () => {
      await using store = await makeStoreOfTwo(version);
      const opened = openImageStore(store.podman.root);
      const app = imageNamed(opened, "localhost/app:1");
      const merged = join(store.podman.root, "overlay", app.topLayer ?? "", "merged");
      const lower = layerChain(opened, app).toReversed().map(({ diffPath }) => diffPath);
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

async function makeStoreOfTwo(version: Podman["version"]): Promise<TestStore> {
  const store = await makeTestStore(version);
  await addTwoImages(store.layout);
  await pull(store, "app");
  await pull(store, "other");
  return store;
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

async function assertWhole(store: TestStore, tag: string, version: Podman["version"]): Promise<void> {
  assert.match(await store.podman.run("images", "--format", "{{.Repository}}:{{.Tag}}"), new RegExp(`^localhost/${tag}:1$`, "m"));
  await store.podman.run("image", "mount", `localhost/${tag}:1`);
  await store.podman.run("image", "umount", `localhost/${tag}:1`);
  if (version !== "4.3") await store.podman.run("system", "check");
}

function dropImageRecord(podman: Podman, name: string): void {
  const path = join(podman.root, "overlay-images/images.json");
  const records: readonly { names?: readonly string[] }[] = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify(records.filter(({ names = [] }) => !names.includes(name))));
}

function imageNamed(store: ImageStore, name: string): ReturnType<typeof listImages>[number] {
  const image = findImage(store, { name });
  assert.ok(image, `no image ${name}`);
  return image;
}
