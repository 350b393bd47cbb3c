import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { writeDirectoryImage } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { makeTestImages } from "./images.ts";
import { makeProgramsFolder, releases } from "./programs-folder.ts";
import { makeStoreFolder, pullOnce, type StoreFolder } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());

interface StoredImage {
  readonly id: string;
  readonly digest: string;
  readonly names: readonly string[];
}

function storedImages(store: StoreFolder): StoredImage[] {
  return JSON.parse(readFileSync(join(store.storage, "overlay-images/images.json"), "utf8")) as StoredImage[];
}

/** The images as each transport has them, in a folder. */
async function makeFiles() {
  const folder = await makeTemporaryFolder("files");
  const oci = join(folder.path, "oci");
  cpSync(images.layout.folder, oci, { recursive: true });
  await runProgram("skopeo", ["copy", "--quiet", `oci:${oci}:os:1`, `oci-archive:${join(folder.path, "os.tar")}:v1`]);
  mkdirSync(join(folder.path, "dir"));
  writeDirectoryImage(images.layout, "os:1", join(folder.path, "dir"));
  return folder;
}

for (const release of releases) {
  for (const source of ["podman", "skopeo"] as const) {
    describe(`images in files with ${source}, ${release}`, { concurrency: true }, () => {
      for (const [reference, name] of [
        ["oci:/mnt/oci:os:1", "localhost/mnt/oci:os_1"],
        ["oci-archive:/mnt/os.tar:v1", "localhost/mnt/os-tar:v1"],
        ["dir:/mnt/dir", "localhost/mnt/dir:latest"],
      ] as const) {
        test(`${reference}: the manifest that arrives is its own`, async () => {
          await using files = await makeFiles();
          await using programs = await makeProgramsFolder({ release });
          await using store = await makeStoreFolder();
          const session = await pullOnce({ programs, store, source, reference, binds: [[files.path, "/mnt"]] });
          assert.equal(session.error, undefined);
          assert.deepEqual(session.result, { imageId: hexOf(images.first.configDigest), name, program: source });
          const [image] = storedImages(store);
          assert.equal(image?.digest, images.first.manifestDigest);
          assert.ok(image.names.includes(name), image.names.join(" "));
          assert.ok(session.events.every(({ event }) => event.estimated));
          const end = session.events.at(-1)?.event;
          assert.deepEqual([end?.bytes, end?.bytes === 0], [end?.bytesTotal, false]);
        });
      }

      test("the image for this machine out of a list", async () => {
        await using files = await makeFiles();
        await using programs = await makeProgramsFolder({ release });
        await using store = await makeStoreFolder();
        const reference = "oci:/mnt/oci:list:1";
        const session = await pullOnce({ programs, store, source, reference, binds: [[files.path, "/mnt"]] });
        assert.deepEqual([session.error, session.result?.imageId], [undefined, hexOf(images.first.configDigest)]);
        assert.equal(session.events.at(-1)?.event.parts.length, 3);
      });

      test("what is not there is named", async () => {
        await using programs = await makeProgramsFolder({ release });
        await using store = await makeStoreFolder();
        const { error } = await pullOnce({ programs, store, source, reference: "oci:/var/tmp/onehold-nothing:1" });
        assert.equal(error?.code, "pull-failed");
        assert.match(error?.message ?? "", /onehold-nothing.*(?:no image at this path|no such)/);
      });
    });
  }

  test(`a path for which podman has no name, ${release}`, async () => {
    await using files = await makeFiles();
    await using programs = await makeProgramsFolder({ release });
    await using store = await makeStoreFolder();
    renameSync(join(files.path, "oci"), join(files.path, "OCI"));
    const pull = { programs, store, reference: "oci:/mnt/OCI:os:1", binds: [[files.path, "/mnt"]] as const };
    const { error } = await pullOnce({ ...pull, source: "podman" });
    // 5.8 takes the tag for a name.
    if (release === "installed") assert.match(error?.hint ?? "", /--source skopeo/);
    else assert.equal(error, undefined);
    const { result } = await pullOnce(pull);
    assert.deepEqual([result?.program, result?.name], ["skopeo", "localhost/mnt/oci:os_1"]);
  });

  describe(`root's own store, ${release}`, { concurrency: true }, () => {
    test("gives its image with the digest that it had", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      await using own = await makeTemporaryFolder("containers");
      const name = "localhost/team/os:1";
      await runProgram("skopeo", [
        "copy",
        "--quiet",
        `oci:${images.layout.folder}:os:1`,
        `containers-storage:[overlay@${own.path}/storage+${own.path}/run]${name}`,
      ]);

      const session = await pullOnce({
        programs,
        store,
        reference: `containers-storage:${name}`,
        binds: [[own.path, "/var/lib/containers"]],
      });
      assert.equal(session.error, undefined);
      assert.deepEqual(session.result, { imageId: hexOf(images.first.configDigest), name, program: "skopeo" });
      const [image] = storedImages(store);
      assert.deepEqual([image?.digest, image?.names], [images.first.manifestDigest, [name]]);
      // The manifest's own bytes came along, under its digest.
      const folder = join(store.storage, "overlay-images", image?.id ?? "");
      const digests = readdirSync(folder).map((file) =>
        createHash("sha256")
          .update(readFileSync(join(folder, file)))
          .digest("hex"),
      );
      assert.ok(digests.includes(hexOf(images.first.manifestDigest)));
    });

    test("and not the image store's, of the same name", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      await using own = await makeTemporaryFolder("containers");
      const reference = "containers-storage:localhost/os:1";
      const pull = { programs, store, reference, binds: [[own.path, "/var/lib/containers"]] as const };
      assert.match((await pullOnce(pull)).error?.message ?? "", /no such image/);
      for (const tag of ["os:1", "os:2"]) {
        const destination = `containers-storage:[overlay@${own.path}/storage+${own.path}/run]localhost/os:1`;
        await runProgram("skopeo", ["copy", "--quiet", `oci:${images.layout.folder}:${tag}`, destination]);
        assert.equal((await pullOnce(pull)).error, undefined);
      }
      const named = storedImages(store).find(({ names }) => names?.includes("localhost/os:1"));
      assert.equal(named?.digest, images.second.manifestDigest);
    });

    test("needs skopeo", async () => {
      await using programs = await makeProgramsFolder({ release, programs: ["podman"] });
      await using store = await makeStoreFolder();
      const { error } = await pullOnce({ programs, store, reference: "containers-storage:localhost/os:1" });
      assert.equal(error?.code, "program-missing");
      assert.match(error?.message ?? "", /skopeo/);
    });
  });
}
