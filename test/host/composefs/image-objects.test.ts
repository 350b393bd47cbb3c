import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runModern } from "#fixtures/modern-chroot.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { objectPathOf } from "#formats/composefs-objects.ts";
import { objectsOfImage } from "#stores/composefs/image-objects.ts";
import { linkObject, writeRef } from "#stores/composefs/links.ts";
import { objectFile } from "#stores/composefs/objects.ts";
import { createRepository, defaultSettings } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged, stageObject } from "#stores/composefs/staging.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";

test("composefs-info names the same objects, and misses none that a sweep leaves", { timeout: 120_000 }, async () => {
  await using folder = await makeTemporaryFolder("composefs-image-objects");
  const files = join(folder.path, "files");
  mkdirSync(join(files, "d"), { recursive: true });
  const contents = Array.from({ length: 30 }, (_, i) => Buffer.alloc(50 + i, `${i}`));
  for (const [i, bytes] of contents.entries()) writeFileSync(join(files, "d", `f${i}`), bytes);
  const image = join(folder.path, "image");
  await runModern(["mkcomposefs", files, image]);

  const repository = createRepository(join(folder.path, "composefs"), {
    ...defaultSettings,
    algorithm: "sha256",
    verity: "no",
  });
  {
    using staging = makeStaging(repository);
    for (const bytes of [...contents, Buffer.alloc(100, "nobody's")]) stageObject(repository, staging, bytes);
    const id = stageObject(repository, staging, readFileSync(image));
    publishStaged(repository, staging);
    linkObject(repository, "images", id, id);
    writeRef(repository, "images", "theirs", id);
  }
  const ours = objectsOfImage(readFileSync(image), "sha256");
  const theirs = (await runModern(["composefs-info", "objects", image])).trim().split("\n");
  assert.deepEqual(ours.map(objectPathOf).toSorted(), theirs.toSorted());
  // Those of at most 64 bytes are in the image.
  assert.equal(ours.length, contents.filter((bytes) => bytes.length > 64).length);
  const { objects } = await sweepRepository(repository, { dryRun: false });
  assert.equal(objects, contents.length - ours.length + 1);
  const missing = () =>
    runModern(["composefs-info", `--basedir=${join(repository.path, "objects")}`, "missing-objects", image]);
  assert.equal(await missing(), "");
  const first = ours[0] ?? assert.fail();
  rmSync(objectFile(repository, first));
  assert.equal((await missing()).trim(), objectPathOf(first));
  assert.equal(readdirSync(join(repository.path, "images/refs")).length, 1);
});

test("an image without digests names its objects by their paths; other paths are refused", {
  timeout: 120_000,
}, async () => {
  await using folder = await makeTemporaryFolder("composefs-image-paths");
  const objectsOf = async (path: string) => {
    const image = join(folder.path, "image");
    const dump = `/ 0 40755 2 0 0 0 0.0 - - -\n/f 100 100644 1 0 0 0 0.0 ${path} - -\n`;
    await runModern(["mkcomposefs", "--from-file", "-", image], { input: dump });
    return objectsOfImage(readFileSync(image), "sha256");
  };
  const digest = "5a".repeat(32);
  assert.deepEqual(await objectsOf(`5a/${digest.slice(2)}`), [digest]);
  for (const path of ["5a/5a", "etc/passwd", "../secret"]) await assert.rejects(objectsOf(path), { code: "corrupt" });
});
