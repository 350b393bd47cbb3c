import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { bytesOf } from "#base/bytes.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { makeTemporaryFolder, mountPointsBelow, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import type { ComposefsDirectory } from "#formats/composefs-tree.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { mountImage, unmountImage } from "#host/composefs-mount.ts";
import { createRepository } from "#stores/composefs/repository.ts";
import { addOurImage } from "./our-repository.ts";
import { comparable } from "./repositories.ts";
import { makeSourceTree } from "./source-tree.ts";

let folder: TemporaryFolder;
let source: string;
let tree: ComposefsDirectory;

before(async () => {
  folder = await makeTemporaryFolder("our-images");
  source = join(folder.path, "source");
  await makeSourceTree(source);
  const image = join(folder.path, "image");
  await runModern(["mkcomposefs", source, image]);
  tree = readErofs(readFileSync(image));
});
after(() => folder[Symbol.asyncDispose]());

for (const algorithm of ["sha256", "sha512"] as const) {
  test(`the kernel mounts images of ours of each format, from a repository of ours with ${algorithm}`, async () => {
    const path = join(folder.path, algorithm);
    const repository = createRepository(path, { algorithm, format: 1, extraFormats: [0, 2], verity: "no" });
    const expected = await comparable(source);
    for (const format of [0, 1, 2] as const) {
      const id = addOurImage(repository, tree, format, (file) =>
        readFileSync(Buffer.concat([Buffer.from(`${source}/`), bytesOf(file)])),
      );
      const directory = join(folder.path, `${algorithm}-${format}`);
      mkdirSync(directory);
      const { digest, probed } = mountImage({ repository: path, image: `test/v${format}`, directory });
      assert.equal(digest, id);
      assert.ok(probed !== undefined);
      // Format 2 knows no fractions of a second.
      const wanted = expected.map((file) =>
        format === 2 ? { ...file, mtime: file.mtime?.replace(/\.\d+/, ".0000000000") } : file,
      );
      assert.deepEqual(await comparable(directory), wanted);
      unmountImage(directory);
    }
    assert.deepEqual(mountPointsBelow(folder.path), []);
  });
}
