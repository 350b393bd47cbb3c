import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { runProgram } from "#fixtures/programs.ts";
import { objectPathOf } from "#formats/composefs-objects.ts";
import { contentTypes } from "#formats/splitstream.ts";
import { SplitstreamWriter } from "#formats/splitstream-writer.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { linkObject, writeRef } from "#stores/composefs/links.ts";
import { hasObject, listObjects } from "#stores/composefs/objects.ts";
import { readImage } from "#stores/composefs/oci-images.ts";
import { createRepository, defaultSettings, type Repository } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged, stageObject } from "#stores/composefs/staging.ts";
import { deleteTag } from "#stores/composefs/streams.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import { addImage, flipBit, imageOf, inStreams, tarOfFiles } from "./images.ts";

async function withRepository(run: (repository: Repository) => Promise<void>): Promise<void> {
  await using folder = await makeTemporaryFolder("composefs-sweep");
  await run(createRepository(join(folder.path, "composefs"), { ...defaultSettings, verity: "no" }));
}

const sweep = (repository: Repository, dryRun = false) => sweepRepository(repository, { dryRun });
const objectsIn = (repository: Repository) => [...listObjects(repository)].map(({ id }) => id ?? "").toSorted();
const everything = (repository: Repository) => runProgram("find", [repository.path, "-printf", "%P %l %s\n"]);

/** Nothing that is left is broken, and a second sweep finds nothing. */
async function assertClean(repository: Repository): Promise<void> {
  assert.deepEqual((await checkRepository(repository)).problems, []);
  assert.deepEqual(await sweep(repository), { objects: 0, bytes: 0, links: 0 });
}

test("images with a tag stay, others go, with what they alone had", () =>
  withRepository(async (repository) => {
    const shared = tarOfFiles("shared");
    const erofs = [
      { format: 1, boot: false },
      { format: 1, boot: true },
    ] as const;
    const one = await addImage(repository, { tag: "os:1", layers: [shared, tarOfFiles("one")], erofs });
    const two = await addImage(repository, { tag: "os:2", layers: [shared, tarOfFiles("two")], erofs });
    await addImage(repository, { tag: "latest", layers: [shared, tarOfFiles("two")], erofs: [] });
    await addImage(repository, { tag: "os:2", layers: [shared, tarOfFiles("two")], erofs });
    await sweep(repository);
    await assertClean(repository);
    const before = await everything(repository);
    assert.ok(deleteTag(repository, "os:1"));
    assert.ok(!deleteTag(repository, "os:1"));
    const untagged = await everything(repository);

    const foreseen = await sweep(repository, true);
    assert.equal(await everything(repository), untagged, "a dry run deletes nothing");
    const swept = await sweep(repository);
    assert.deepEqual(swept, foreseen);
    // Its own layer's object and stream; config and manifest, with their streams; two images. Names of all but the object and the documents.
    assert.deepEqual([swept.objects, swept.links], [8, 5]);
    assert.notEqual(await everything(repository), before);
    assert.equal(await readImage(repository, one.manifestDigest), undefined);
    assert.deepEqual((await readImage(repository, two.manifestDigest))?.layers, two.layers);
    for (const { id } of one.erofs) assert.ok(!existsSync(join(repository.path, "images", id)));
    for (const { id } of two.erofs) assert.ok(existsSync(join(repository.path, "images", id)));
    await assertClean(repository);

    assert.ok(deleteTag(repository, "os:2"));
    assert.deepEqual(await sweep(repository), { objects: 0, bytes: 0, links: 0 }, "another tag has it");
    assert.ok(deleteTag(repository, "latest"));
    await sweep(repository);
    assert.deepEqual(objectsIn(repository), []);
    assert.deepEqual(
      [readdirSync(inStreams(repository, "")), readdirSync(join(repository.path, "images"))],
      [["refs"], []],
    );
  }));

test("an image ref keeps the image and its files' contents", () =>
  withRepository(async (repository) => {
    const [content, image] = (() => {
      using staging = makeStaging(repository);
      const file = stageObject(repository, staging, Buffer.alloc(100, "f"));
      const erofs = stageObject(repository, staging, imageOf(1, "host", file));
      stageObject(repository, staging, Buffer.alloc(100, "g"));
      publishStaged(repository, staging);
      return [file, erofs];
    })();
    linkObject(repository, "images", image, image);
    writeRef(repository, "images", "host/default", image);
    assert.deepEqual(await sweep(repository), { objects: 1, bytes: 100, links: 0 });
    assert.deepEqual(objectsIn(repository), [content, image].toSorted());
    await assertClean(repository);
  }));

test("artifacts that refer to an image stay and go with it", () =>
  withRepository(async (repository) => {
    const image = await addImage(repository, { tag: "os:1", layers: [tarOfFiles("a")] });
    const artifact = async (subject: string, text: string) => {
      using staging = makeStaging(repository);
      const writer = new SplitstreamWriter(repository.meta.algorithm, contentTypes.manifest);
      writer.writeExternal(stageObject(repository, staging, Buffer.from(text)), text.length);
      const id = stageObject(repository, staging, await writer.finish());
      publishStaged(repository, staging);
      const digest = await runProgram("sh", ["-c", `printf %s '${text}' | sha256sum | cut -c1-64`]);
      const name = `oci-manifest-sha256:${digest.trim()}`;
      linkObject(repository, "streams", name, id);
      writeRef(repository, "streams", `oci-referrers/${subject}/sha256:${digest.trim()}`, name);
      return { id, digest: `sha256:${digest.trim()}` };
    };
    const signature = await artifact(image.manifestDigest, "a signature");
    const ofSignature = await artifact(signature.digest, "a signature of the signature");
    const orphan = await artifact(`sha256:${"0".repeat(64)}`, "of an image that is not there");
    assert.ok(hasObject(repository, orphan.id));
    const { objects, links } = await sweep(repository);
    assert.deepEqual([objects, links], [2, 2], "the orphan's stream and document, its name and ref");
    assert.ok(!hasObject(repository, orphan.id));
    assert.ok(hasObject(repository, signature.id) && hasObject(repository, ofSignature.id));
    deleteTag(repository, "os:1");
    await sweep(repository);
    assert.deepEqual(objectsIn(repository), []);
    assert.deepEqual(await runProgram("find", [inStreams(repository, ""), "-type", "l"]), "");
  }));

test("what can't be read stops a sweep before anything is deleted", () =>
  withRepository(async (repository) => {
    const image = await addImage(repository, { tag: "os:1", layers: [tarOfFiles("a")] });
    await addImage(repository, { tag: "os:2", layers: [tarOfFiles("b")] });
    deleteTag(repository, "os:2");
    const [layer] = image.layers;
    assert.ok(layer !== undefined);
    flipBit(join(repository.path, "objects", objectPathOf(layer.stream)));
    const before = await everything(repository);
    await assert.rejects(sweep(repository), { code: "corrupt" });
    assert.equal(await everything(repository), before);
  }));

test("what killed writers left, and links that lead nowhere, go; what is not ours stays", () =>
  withRepository(async (repository) => {
    const { manifestDigest } = await addImage(repository, { tag: "os:1", layers: [tarOfFiles("a")] });
    await addImage(repository, { tag: "gone", layers: [tarOfFiles("b")] });
    deleteTag(repository, "gone");
    symlinkSync(`../../oci-manifest-${manifestDigest}`, inStreams(repository, "refs/oci/.symlink-0123456789ab"));
    symlinkSync("../nothing", inStreams(repository, "refs/lost"));
    symlinkSync("elsewhere", inStreams(repository, "odd"));
    mkdirSync(inStreams(repository, "refs/a/b"), { recursive: true });
    const odd = Buffer.concat([Buffer.from(inStreams(repository, "refs/a/b/")), Buffer.from([0xff])]);
    symlinkSync(`../../../oci-manifest-${manifestDigest}`, odd);
    writeFileSync(join(repository.path, "objects", "README"), "");
    mkdirSync(join(repository.path, ".onehold-dead"));
    deleteTag(repository, "os:1");
    const { links } = await sweep(repository);
    assert.ok(links >= 3);
    assert.ok(existsSync(odd), "a ref whose name is not UTF-8 is one");
    assert.ok((await readImage(repository, manifestDigest)) !== undefined);
    for (const name of ["refs/lost", "refs/oci/.symlink-0123456789ab", "odd"]) {
      assert.ok(!readdirSync(join(inStreams(repository, name), "..")).includes(name.split("/").at(-1) ?? ""), name);
    }
    assert.ok(existsSync(join(repository.path, "objects", "README")));
    assert.ok(!existsSync(join(repository.path, ".onehold-dead")));
    await assertClean(repository);
  }));
