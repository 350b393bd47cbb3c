import assert from "node:assert/strict";
import { renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { objectIdOf } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { contentTypes } from "#formats/splitstream.ts";
import { SplitstreamWriter } from "#formats/splitstream-writer.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { linkObject, writeRef } from "#stores/composefs/links.ts";
import { objectFile } from "#stores/composefs/objects.ts";
import { createRepository, defaultSettings, type Repository } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged, stageObject } from "#stores/composefs/staging.ts";
import { readStream } from "#stores/composefs/streams.ts";
import { addImage, flipBit, inStreams, tarOfFiles } from "./images.ts";
import { sha256 } from "./layers.ts";

type Added = Awaited<ReturnType<typeof addImage>>;
const idOf = (bytes: Buffer) => objectIdOf(verityDigest("sha512", bytes));
const objectOf = (repository: Repository, bytes: Buffer) => objectFile(repository, idOf(bytes));
const layerOf = ({ layers: [layer] }: Added) => layer ?? assert.fail();

/** Publishes a stream of another making under the name of one that is there. */
async function replaceStream(
  repository: Repository,
  name: string,
  fill: (writer: SplitstreamWriter) => void,
  type = contentTypes.config,
) {
  using staging = makeStaging(repository);
  const writer = new SplitstreamWriter("sha512", type);
  fill(writer);
  const id = stageObject(repository, staging, await writer.finish());
  publishStaged(repository, staging);
  linkObject(repository, "streams", name, id);
  return id;
}

const damages: Readonly<Record<string, [(repository: Repository, image: Added) => void | Promise<void>, RegExp]>> = {
  "a flipped bit of a file's content": [
    (repository, image) => {
      const [object] = readStream(repository, layerOf(image).stream).objectRefs;
      flipBit(objectFile(repository, object ?? assert.fail()));
    },
    /^objects\/[^ ]*: has the digest [^]*streams\/oci-layer-[^ ]*: gives bytes with the digest/,
  ],
  "a flipped bit of the manifest": [
    (repository, { manifest }) => flipBit(objectOf(repository, manifest)),
    /^objects\/[^]*streams\/oci-manifest-[^ ]*: gives bytes/,
  ],
  "a flipped bit of a stream": [
    (repository, image) => flipBit(objectFile(repository, layerOf(image).stream)),
    /^objects\/[^]*streams\/oci-layer-[^]*has the digest/,
  ],
  "a missing object": [
    (repository, { config }) => rmSync(objectOf(repository, config)),
    /streams\/oci-config-[^]*refers to the object [0-9a-f]{128}, which is missing/,
  ],
  "a missing layer": [
    (repository, image) => rmSync(objectFile(repository, layerOf(image).stream)),
    /streams\/oci-config-[^]*refers to the object[^]*streams\/oci-layer-[^]*is missing/,
  ],
  "a missing image": [
    (repository, { erofs: [image] }) => rmSync(objectFile(repository, image?.id ?? assert.fail())),
    /images\/[0-9a-f]{128}: leads to an object that is missing/,
  ],
  "another config under its name": [
    async (repository, { config }) => {
      const other = Buffer.concat([config, Buffer.from(" ")]);
      using staging = makeStaging(repository);
      stageObject(repository, staging, other);
      publishStaged(repository, staging);
      await replaceStream(repository, `oci-config-${sha256(config)}`, (writer) =>
        writer.writeExternal(idOf(other), other.length),
      );
    },
    /streams\/oci-config-[^ ]*: gives bytes with the digest/,
  ],
  "a config that names no layers": [
    async (repository, { manifest, manifestDigest, config }) => {
      const id = await replaceStream(repository, `oci-config-${sha256(config)}`, (writer) =>
        writer.writeExternal(idOf(config), config.length),
      );
      const fill = (writer: SplitstreamWriter) => {
        writer.addNamedRef(`config:${sha256(config)}`, id);
        writer.writeExternal(idOf(manifest), manifest.length);
      };
      await replaceStream(repository, `oci-manifest-${manifestDigest}`, fill, contentTypes.manifest);
    },
    /streams\/oci-manifest-[^]*does not name sha256:/,
  ],
  "a stream that lies about its size": [
    async (repository, image) => {
      const fill = (writer: SplitstreamWriter) => writer.writeExternal(idOf(image.config), image.config.length + 1);
      await replaceStream(repository, `oci-config-${sha256(image.config)}`, fill);
    },
    /streams\/oci-config-[^]*as it claims/,
  ],
  "a stream that leads out of the repository": [
    (repository, image) => {
      const name = inStreams(repository, `oci-layer-${layerOf(image).diffId}`);
      unlinkSync(name);
      symlinkSync("/etc/passwd", name);
    },
    /streams\/oci-layer-[^]*leads to \/etc\/passwd/,
  ],
  "a ref that leads nowhere": [
    (repository) => writeRef(repository, "images", "lost", "0".repeat(128)),
    /images\/refs\/lost: leads nowhere/,
  ],
  "an image under another's name": [
    (repository, { erofs: [image] }) => {
      const folder = join(repository.path, "images");
      renameSync(join(folder, image?.id ?? ""), join(folder, "1".repeat(128)));
    },
    /images\/1{128}: leads to another image/,
  ],
  "a stray file among the objects": [
    (repository) => {
      const [file] = [objectFile(repository, idOf(Buffer.alloc(0)))];
      using staging = makeStaging(repository);
      stageObject(repository, staging, Buffer.alloc(0));
      publishStaged(repository, staging);
      writeFileSync(join(file, "../stray"), "");
    },
    /objects\/[0-9a-f]{2}\/stray: is not named as an object/,
  ],
};

for (const [what, [damage, expected]] of Object.entries(damages)) {
  test(`${what} is found`, async () => {
    await using folder = await makeTemporaryFolder("composefs-check");
    const repository = createRepository(join(folder.path, "composefs"), { ...defaultSettings, verity: "no" });
    const image = await addImage(repository, {
      tag: "os:1",
      layers: [tarOfFiles("a"), tarOfFiles("b")],
      erofs: [{ format: 1, boot: false }],
    });
    const check = async () => (await checkRepository(repository)).problems;
    assert.deepEqual(await check(), []);
    await damage(repository, image);
    const found = (await check()).map(({ subject, why }) => `${subject}: ${why}`).join("\n");
    assert.match(found, expected);
  });
}

test("objects without fs-verity are damage where it is demanded", async () => {
  await using folder = await makeTemporaryFolder("composefs-check");
  const repository = createRepository(join(folder.path, "composefs"), { ...defaultSettings, verity: "no" });
  await addImage(repository, { tag: "os:1", layers: [tarOfFiles("a")] });
  const { objects, problems } = await checkRepository({ ...repository, secure: true });
  assert.ok(objects > 0);
  assert.deepEqual(
    new Set(problems.map(({ why }) => why)),
    new Set(["has no fs-verity, which this repository demands"]),
  );
});
