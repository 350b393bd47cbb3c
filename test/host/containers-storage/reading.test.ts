import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import * as v from "valibot";
import { withFileSystem } from "#fixtures/file-systems.ts";
import {
  addImage,
  addLayer,
  addManifestList,
  blobPath,
  type Image,
  makeOciLayout,
  writeDirectoryImage,
} from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { file } from "#fixtures/tar-writer.ts";
import { parseConfig } from "#formats/oci.ts";
import { type ImageRecord, readConfig, readManifest } from "#stores/containers-storage/images.ts";
import {
  findImage,
  type ImageStore,
  layerChain,
  listImages,
  listImagesWithLayers,
  listLayers,
  openImageStore,
} from "#stores/containers-storage/store.ts";
import { verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import { addTwoImages, makeTestStore, podmanAt, pull, versions } from "./podman-store.ts";

const inspected = v.object({
  Id: v.string(),
  Digest: v.string(),
  RepoTags: v.array(v.string()),
  RootFS: v.object({ Layers: v.array(v.string()) }),
  Labels: v.nullable(v.record(v.string(), v.string())),
});
type Inspected = v.InferOutput<typeof inspected>;

for (const version of versions) {
  describe(`a store of podman ${version}`, () => {
    test("is listed as podman lists it, with the bytes that were pulled", async () => {
      await using store = await makeTestStore(version);
      const images = await addTwoImages(store.layout);
      await store.podman.run("tag", await pull(store, "app"), "localhost/app:1", "registry.example/team/app:2");
      await pull(store, "other");
      const opened = openImageStore(store.podman.root);

      // Podman lists an image once for each of its names.
      const listed = (await store.podman.run("images", "--no-trunc", "--digests", "--format", "{{.Digest}} {{.ID}}"))
        .trim()
        .split("\n");
      const ours = listImages(opened);
      assert.deepEqual(
        ours.map(({ id, digest }) => `${digest} sha256:${id}`).toSorted(),
        [...new Set(listed)].toSorted(),
      );
      assert.equal(ours.length, 2);
      for (const image of ours) await compareWithInspect(opened, image, await inspect(store.podman, image.id));
      for (const { manifestDigest, configDigest } of Object.values(images)) {
        const image = findOrFail(opened, manifestDigest);
        assert.deepEqual(readManifest(image), readFileSync(blobPath(store.layout, manifestDigest)));
        assert.deepEqual(readConfig(image), readFileSync(blobPath(store.layout, configDigest)));
        assert.equal(image.configDigest, configDigest);
      }
    });

    test("finds an image by digest, name and id, and layers by what they are", async () => {
      await using store = await makeTestStore(version);
      const { app, other } = await addTwoImages(store.layout);
      const opened = openImageStore(store.podman.root.slice(0, -"/root".length));
      assert.deepEqual(listImages(opened), [], "a folder without a store is an empty one");
      await store.podman.run("tag", await pull(store, "app"), "localhost/app:1");
      await pull(store, "other");
      const images = openImageStore(store.podman.root);
      const found = findImage(images, { digest: app.manifestDigest });
      assert.ok(found);
      assert.deepEqual(findImage(images, { name: "localhost/app:1" }), found);
      assert.deepEqual(findImage(images, { id: found.id }), found);
      assert.equal(findImage(images, { name: "app" }), undefined);

      const layers = listLayers(images);
      assert.equal(layers.length, 4, "base, app, library, other");
      const [base, library] = layerChain(images, findOrFail(images, other.manifestDigest));
      const [sameBase] = layerChain(images, found);
      assert.deepEqual(base, sameBase);
      assert.equal(base?.parent, undefined);
      assert.equal(base?.compressedDigest, other.layers[0]?.digest);
      assert.equal(base?.compressedSize, other.layers[0]?.size);
      assert.equal(library?.parent, base?.id);
      assert.equal(library?.diffDigest, other.diffIds[1]);
    });

    test("keeps the digest of the manifest list that an image came through", async () => {
      await using store = await makeTestStore(version);
      const layer = await addLayer(store.layout, { entries: [file("f", "native")] });
      const foreign = await addLayer(store.layout, { entries: [file("f", "foreign")] });
      const native = addImage(store.layout, { tag: "native", layers: [layer] });
      const list = addManifestList(store.layout, "list", [
        native,
        addImage(store.layout, { tag: "foreign", layers: [foreign], architecture: "s390x" }),
      ]);
      await pull(store, "list");
      const opened = openImageStore(store.podman.root);
      const image = findOrFail(opened, native.manifestDigest);
      assert.equal(image.digest, native.manifestDigest);
      assert.ok(image.digests.includes(list));
      assert.deepEqual(findImage(opened, { digest: list }), image);
    });

    test("lends its layers to another store", async () => {
      await using lender = await makeTestStore(version);
      await using borrower = await makeTestStore(version);
      const { app } = await addTwoImages(lender.layout);
      await pull(lender, "other");
      const podman = podmanAt(version, borrower.folder, {
        global: ["--storage-opt", `additionalimagestore=${lender.podman.root}`],
        cwd: lender.folder,
      });
      await pull(lender, "app", podman);

      const together = openImageStore(borrower.podman.root, { additional: [lender.podman.root] });
      const image = findOrFail(together, app.manifestDigest);
      const chain = layerChain(together, image);
      assert.deepEqual(
        chain.map(({ root }) => root),
        [lender.podman.root, borrower.podman.root],
      );
      for (const layer of chain) assert.deepEqual(await verifyLayer(layer, chain), { outcome: "verified" });
      assert.deepEqual(
        listImages(together).map(({ readOnly }) => readOnly),
        [false, true],
      );
      assert.deepEqual(listImages(openImageStore(borrower.podman.root)), [], "its base is elsewhere");
      assert.throws(() => layerChain(openImageStore(borrower.podman.root), image), {
        code: "corrupt",
        message: /is not in the store/,
      });
    });

    test("is read and verified on a read-only file system", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      await withFileSystem("xfs", { sizeMiB: 300 }, async (folder) => {
        await pull(store, "app", podmanAt(version, folder, { cwd: store.folder }));
        await runProgram("mount", ["-o", "remount,ro", folder]);
        const opened = openImageStore(join(folder, "root"));
        const [image] = listImages(opened);
        assert.ok(image);
        const chain = layerChain(opened, image);
        for (const layer of chain) assert.deepEqual(await verifyLayer(layer, chain), { outcome: "verified" });
      });
    });

    test("never shows half an image while podman pulls and removes", async () => {
      await using store = await makeTestStore(version);
      const { app } = await addTwoImages(store.layout);
      mkdirSync(store.podman.root);
      const opened = openImageStore(store.podman.root);
      const states = new Set<number>();
      const look = (): void => {
        const images = listImagesWithLayers(opened);
        states.add(images.length);
        for (const { image, layers } of images) {
          assert.equal(image.digest, app.manifestDigest);
          assert.equal(layers.length, 2);
        }
      };
      for (let round = 0; round < 3; round += 1) {
        const id = await lookingMeanwhile(pull(store, "app"), look);
        await lookingMeanwhile(store.podman.run("rmi", id), look);
      }
      assert.deepEqual(
        [...states].toSorted((a, b) => a - b),
        [0, 1],
      );
    });
  });
}

test("docker's media types, and images without layers, are read too", async () => {
  await using store = await makeTestStore("5.8");
  const source = makeOciLayout(join(store.folder, "docker"));
  const docker = addImage(source, {
    tag: "docker",
    format: "docker",
    layers: [await addLayer(source, { entries: [file("f", "docker")] })],
  });
  addImage(store.layout, { tag: "scratch", layers: [] });
  const folder = join(store.folder, "dir");
  mkdirSync(folder);
  writeDirectoryImage(source, "docker", folder);
  await store.podman.run("pull", "--quiet", `dir:${folder}`);
  const scratchId = await pull(store, "scratch");
  const opened = openImageStore(store.podman.root);
  assert.equal(layerChain(opened, findOrFail(opened, docker.manifestDigest)).length, 1);
  const scratch = findImage(opened, { id: scratchId });
  assert.ok(scratch);
  assert.deepEqual(layerChain(opened, scratch), []);
});

async function lookingMeanwhile(work: Promise<string>, look: () => void): Promise<string> {
  let done = false;
  const finished = work.finally(() => (done = true));
  while (!done) {
    look();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  look();
  return await finished;
}

async function inspect(podman: { run(...args: string[]): Promise<string> }, id: string): Promise<Inspected> {
  const [image] = v.parse(v.array(inspected), JSON.parse(await podman.run("image", "inspect", id)));
  assert.ok(image);
  return image;
}

async function compareWithInspect(store: ImageStore, image: ImageRecord, theirs: Inspected): Promise<void> {
  assert.equal(image.id, theirs.Id);
  assert.equal(image.digest, theirs.Digest);
  assert.deepEqual(image.names.toSorted(), theirs.RepoTags.toSorted());
  assert.deepEqual(
    layerChain(store, image).map(({ diffDigest }) => diffDigest),
    theirs.RootFS.Layers,
  );
  assert.deepEqual(image.diffIds, theirs.RootFS.Layers);
  assert.deepEqual(parseConfig(readConfig(image)).labels, theirs.Labels ?? {});
}

function findOrFail(store: ImageStore, digest: Image["manifestDigest"]): ImageRecord {
  const image = findImage(store, { digest });
  assert.ok(image, `no image ${digest}`);
  return image;
}
