import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { type ObjectId, objectIdOf, objectPathOf } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import type { Digest } from "#base/digest.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { linkedObject } from "#stores/composefs/links.ts";
import { objectFile } from "#stores/composefs/objects.ts";
import { publishImage, publishLayers, readImage } from "#stores/composefs/oci-images.ts";
import { createRepository, defaultSettings, openRepository, type Repository } from "#stores/composefs/repository.ts";
import { makeStaging, stageObject } from "#stores/composefs/staging.ts";
import { findLayerStream, listTags, readStream, tagOfRef, tagRef } from "#stores/composefs/streams.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import * as vectors from "../../unit/formats/splitstream-vectors.ts";
import { addImage, documentsOf, imageOf, inStreams, tarOfFiles } from "./images.ts";
import { stageLayer } from "./layers.ts";

const settings = { ...defaultSettings, algorithm: "sha256", verity: "no" } as const;

async function withRepository(run: (repository: Repository) => Promise<void>): Promise<void> {
  await using folder = await makeTemporaryFolder("composefs-images");
  await run(createRepository(join(folder.path, "composefs"), settings));
}

const problems = async (repository: Repository) => (await checkRepository(repository)).problems;
const tarOf = (layer: (typeof vectors.layers)[number]) => {
  const { header, content, rest } = vectors.tarOf(layer);
  return Buffer.concat([header, content, rest]);
};

test("an image of composefs-rs's test becomes the streams that it pins", () =>
  withRepository(async (repository) => {
    const manifest = Buffer.from('{"schemaVersion":2}');
    const name = `oci-manifest-sha256:${createHash("sha256").update(manifest).digest("hex")}`;
    using staging = makeStaging(repository);
    const layers = [];
    for (const layer of vectors.layers) layers.push(await stageLayer(repository, staging, tarOf(layer)));
    assert.deepEqual(
      layers,
      vectors.layers.map(({ diffId, stream }) => ({ diffId, stream })),
    );
    await publishImage(repository, staging, { manifest, config: vectors.config, layers, erofs: [], tags: ["a/b%c:1"] });
    const configName = `oci-config-sha256:${vectors.sha256(vectors.config)}`;
    assert.equal(linkedObject(repository, "streams", configName), vectors.configStreamObject);
    assert.deepEqual(readFileSync(inStreams(repository, configName)), vectors.configStream);
    assert.equal(
      readlinkSync(inStreams(repository, configName)),
      `../objects/${objectPathOf(vectors.configStreamObject as ObjectId)}`,
    );
    for (const { diffId, stream } of vectors.layers) {
      assert.equal(linkedObject(repository, "streams", `oci-layer-${diffId}`), stream);
    }
    assert.equal(readlinkSync(inStreams(repository, "refs/oci/a%2Fb%25c:1")), `../../${name}`);
    assert.deepEqual([...listTags(repository)], [["a/b%c:1", name]]);
    const head = readStream(repository, linkedObject(repository, "streams", name) ?? ("" as ObjectId));
    assert.equal(head.contentType, "ocimanif");
    assert.equal(head.namedRefs.get(`config:sha256:${vectors.sha256(vectors.config)}`), vectors.configStreamObject);
    assert.deepEqual(statSync(inStreams(repository, "refs/oci")).mode & 0o7777, 0o755);
  }));

for (const mediaTypes of ["oci", "docker"] as const) {
  test(`an image (${mediaTypes}) is read as it was given, and nothing is wrong with it`, () =>
    withRepository(async (repository) => {
      const layers = [tarOfFiles("a", "b"), tarOfFiles("c"), tarOfFiles("a", "b")];
      const erofs = [
        { format: 1, boot: true },
        { format: 1, boot: false },
        { format: 2, boot: false },
      ] as const;
      const added = await addImage(repository, { tag: "os:1", layers, mediaTypes, erofs });
      const image = await readImage(repository, added.manifestDigest);
      assert.deepEqual(image?.manifest, added.manifest);
      assert.deepEqual(image?.config, added.config);
      assert.deepEqual(image?.layers, added.layers);
      assert.deepEqual(Object.fromEntries(image?.erofs ?? []), {
        "composefs.image": added.erofs[2]?.id,
        "composefs.image.boot.v1": added.erofs[0]?.id,
        "composefs.image.v1": added.erofs[1]?.id,
      });
      for (const { id } of added.erofs) assert.equal(linkedObject(repository, "images", id), id);
      assert.deepEqual(await problems(repository), []);
      assert.equal(await readImage(repository, `sha256:${"0".repeat(64)}` as Digest), undefined);
      const stats = await checkRepository(repository);
      assert.deepEqual([stats.streams, stats.images], [4, 3], "two layers, one of them twice");
    }));
}

test("small documents are objects all the same", () =>
  withRepository(async (repository) => {
    using staging = makeStaging(repository);
    const [manifest, config] = [Buffer.from("{}"), Buffer.from("[]")];
    const { manifestDigest } = await publishImage(repository, staging, {
      manifest,
      config,
      layers: [],
      erofs: [],
      tags: [],
    });
    const stream = linkedObject(repository, "streams", `oci-manifest-${manifestDigest}`);
    assert.deepEqual(
      [...readStream(repository, stream ?? ("" as ObjectId)).objectRefs],
      [objectIdOf(verityDigest("sha256", manifest))],
    );
  }));

test("an image published anew, with an image of its tree, replaces its streams", () =>
  withRepository(async (repository) => {
    const image = { tag: "os:1", layers: [tarOfFiles("a")] };
    const before = await addImage(repository, image);
    await addImage(repository, { ...image, erofs: [{ format: 1, boot: false }] });
    const after = await readImage(repository, before.manifestDigest);
    assert.deepEqual([...(after?.erofs.keys() ?? [])], ["composefs.image.v1"]);
    const { objects } = await sweepRepository(repository, { dryRun: false });
    assert.equal(objects, 2, "the streams of manifest and config as they were");
    assert.deepEqual(await problems(repository), []);
  }));

test("layers of an image that gets no further are found again", () =>
  withRepository(async (repository) => {
    using staging = makeStaging(repository);
    const layer = await stageLayer(repository, staging, tarOfFiles("a"));
    assert.equal(findLayerStream(repository, layer.diffId), undefined);
    publishLayers(repository, staging, [layer]);
    assert.equal(findLayerStream(repository, layer.diffId), layer.stream);
    const [object] = readStream(repository, layer.stream).objectRefs;
    await runProgram("rm", [objectFile(repository, object ?? ("" as ObjectId))]);
    assert.equal(findLayerStream(repository, layer.diffId), undefined, "not where an object is missing");
  }));

describe("tags", () => {
  test("go through their names and back", () => {
    for (const tag of ["os:1", "quay.io/a/b:1", "100%", "%2F", "a%25/b", "ü"]) assert.equal(tagOfRef(tagRef(tag)), tag);
    assert.equal(tagRef("a/b%"), "oci/a%2Fb%25");
    assert.equal(tagOfRef("oci-referrers/a/b"), undefined);
  });

  test("that can't be are refused", () => {
    for (const tag of ["", "@sha256:1", ".", "..", "a\0b", "x".repeat(256)]) {
      assert.throws(() => tagRef(tag), { code: "unsupported" });
    }
  });
});

test("a repository of another program, with V2 images and old headers, is added to and stays valid", async () => {
  await using folder = await makeTemporaryFolder("composefs-foreign");
  const path = join(folder.path, "composefs");
  for (const name of ["objects", "streams/refs/oci", "images/refs"]) mkdirSync(join(path, name), { recursive: true });
  writeFileSync(
    join(path, "meta.json"),
    JSON.stringify({
      version: 1,
      algorithm: "fsverity-sha256-12",
      features: { compatible: [], incompatible: [] },
      erofs_formats: { default: 2 },
    }),
  );
  const put = (bytes: Buffer) => {
    const id = objectIdOf(verityDigest("sha256", bytes));
    mkdirSync(join(path, "objects", id.slice(0, 2)), { recursive: true });
    writeFileSync(join(path, "objects", objectPathOf(id)), bytes);
    return id;
  };
  const link = (target: string, name: string) => runProgram("ln", ["-s", target, join(path, name)]);
  // The layers' and the config's streams as bootc 1.15 wrote them: the config's names the layers' old streams.
  const layerTars = vectors.layers.map(tarOf);
  const image = put(imageOf(2, "theirs", put(Buffer.alloc(1000))));
  for (const layer of vectors.layers) put(vectors.tarOf(layer).content);
  const scratch = createRepository(join(folder.path, "scratch"), settings);
  {
    using staging = makeStaging(scratch);
    for (const [i, tar] of layerTars.entries()) {
      const { stream } = await stageLayer(scratch, staging, tar);
      const bytes = readFileSync(join(staging.path, objectPathOf(stream)));
      const id = put(i === 0 ? vectors.withOldHeader(vectors.alphaStream) : bytes);
      await link(`../objects/${objectPathOf(id)}`, `streams/oci-layer-${vectors.layers[i]?.diffId}`);
    }
  }
  put(vectors.config);
  const configStream = put(vectors.configStream);
  put(vectors.alphaStream); // what the config's stream names
  await link(`../objects/${objectPathOf(configStream)}`, `streams/oci-config-sha256:${vectors.sha256(vectors.config)}`);
  await link(`../oci-config-sha256:${vectors.sha256(vectors.config)}`, "streams/refs/mine");
  await link(`../objects/${objectPathOf(image)}`, `images/${image}`);
  await link(`../${image}`, "images/refs/boot");

  const repository = openRepository(path);
  assert.deepEqual(repository.meta, { algorithm: "sha256", format: 2, extraFormats: [], readOnlyFeatures: [] });
  assert.deepEqual(await problems(repository), []);
  const { diffId } = vectors.layers[0];
  const known = findLayerStream(repository, diffId as Digest);
  assert.notEqual(known, vectors.layers[0].stream, "the one with the old header");
  // One of its layers is known; the image is published with that stream as it is.
  const documents = documentsOf({ layers: layerTars });
  {
    using staging = makeStaging(repository);
    const layers = vectors.layers.map((layer) => ({
      diffId: layer.diffId as Digest,
      stream: findLayerStream(repository, layer.diffId as Digest) ?? ("" as ObjectId),
    }));
    const erofs = [{ id: stageObject(repository, staging, imageOf(2, "ours")), format: 2, boot: false }] as const;
    const { manifestDigest } = await publishImage(repository, staging, {
      ...documents,
      layers,
      erofs,
      tags: ["new:1"],
    });
    assert.deepEqual((await readImage(repository, manifestDigest))?.layers, layers);
  }
  assert.deepEqual(await problems(repository), []);
  await sweepRepository(repository, { dryRun: false });
  assert.deepEqual(await problems(repository), []);
  assert.ok(existsSync(join(path, "images", image)) && existsSync(join(path, "streams/refs/mine")));
  assert.deepEqual(readdirSync(path).toSorted(), ["images", "meta.json", "objects", "streams"]);
});
