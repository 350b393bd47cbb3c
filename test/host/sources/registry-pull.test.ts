import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTestImages } from "./images.ts";
import { combinations, makeProgramsFolder, releases } from "./programs-folder.ts";
import { makeStoreFolder, pullOnce, type StoreFolder } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

interface ListedImage {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly Digest: string;
}

/** What the installed podman lists of a store, which it opens as an additional one: that needs no database. */
async function imagesOf(store: StoreFolder): Promise<ListedImage[]> {
  // podman takes no run root of more than 50 characters.
  const options = [
    "--root",
    join(store.path, "reader"),
    "--runroot",
    join(store.path, "r"),
    "--storage-driver",
    "overlay",
  ];
  const additional = ["--storage-opt", `additionalimagestore=${store.storage}`];
  const listed = await runProgram("podman", [...options, ...additional, "images", "--format", "json"]);
  return JSON.parse(listed) as ListedImage[];
}

/** Runs podman as bootc does: the store at its path, in a namespace that ends with it. */
async function podmanAsBootc(store: StoreFolder, podman: string, ...args: string[]): Promise<string> {
  const script = `
    mkdir -p /run/bootc /run/libpod; mount -t tmpfs tmpfs /run/bootc; mount -t tmpfs tmpfs /run/libpod
    mkdir -p /run/bootc/storage /run/bootc/run ${store.storage}; mount --bind ${store.storage} /run/bootc/storage
    exec 3</run/bootc/run; podman=$1; shift
    exec "$podman" --root /run/bootc/storage --runroot /proc/self/fd/3 "$@"`;
  return runProgram("unshare", ["--mount", "--propagation", "slave", "sh", "-euc", script, "sh", podman, ...args]);
}

for (const release of releases) {
  describe(`podman, ${release}`, { concurrency: true }, () => {
    test("pulls into a store that is bootc's too", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const name = `${registry.address}/os:1`;
      const session = await pullOnce({ programs, store, reference: `docker://${name}`, tlsVerify: false });

      assert.equal(session.error, undefined);
      assert.deepEqual(session.result, { imageId: hexOf(images.first.configDigest), name, program: "podman" });
      assert.deepEqual([session.mounts, session.temporary], [[], []]);
      assert.deepEqual(readdirSync(join(store.path, "sysroot")), ["storage"]);
      for (const lock of ["overlay-images/images.lock", "overlay-layers/layers.lock"])
        assert.ok(existsSync(join(store.storage, lock)), lock);
      const database = readFileSync(
        join(store.storage, release === "modern" ? "db.sql" : "libpod/bolt_state.db"),
        "latin1",
      );
      for (const path of ["/run/bootc/storage", "/proc/self/fd/3"]) assert.ok(database.includes(path), path);
      assert.ok(!database.includes(store.path));

      const [image] = await imagesOf(store);
      assert.deepEqual(
        [image?.Id, image?.Digest, image?.Names],
        [hexOf(images.first.configDigest), images.first.manifestDigest, [name]],
      );
      assert.equal(
        (await podmanAsBootc(store, join(programs.path, "podman"), "images", "--quiet")).trim(),
        image?.Id.slice(0, 12),
      );
    });

    test("goes on with a store that bootc has made", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const podman = join(programs.path, "podman");
      await podmanAsBootc(store, podman, "pull", "--quiet", "--tls-verify=false", `${registry.address}/os:1`);
      const session = await pullOnce({ programs, store, reference: `${registry.address}/os:2`, tlsVerify: false });
      assert.equal(session.error, undefined);
      assert.equal((await imagesOf(store)).length, 2);
      // The layer of the first image was not fetched again.
      assert.equal(session.events.at(-1)?.event.bytesCached, images.second.layers[0]?.size);
    });

    test("fetches what is missing, and counts the rest as cached", async () => {
      await using proxy = await makeRegistryProxy(registry);
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const first = await pullOnce({ programs, store, reference: `${proxy.address}/os:1`, tlsVerify: false });
      assert.deepEqual(
        first.events.at(-1)?.event.parts.map(({ bytesCached }) => bytesCached),
        [0, 0, 0],
      );
      proxy.requests.length = 0;

      const second = await pullOnce({ programs, store, reference: `${proxy.address}/os:2`, tlsVerify: false });
      assert.equal(second.error, undefined);
      assert.deepEqual(
        new Set<unknown>(proxy.blobsFetched()),
        new Set<unknown>([images.second.configDigest, images.second.layers[1]?.digest]),
      );
      assert.deepEqual(
        second.events
          .at(-1)
          ?.event.parts.map(({ id, bytes, bytesCached, bytesTotal }) => ({ id, bytes, bytesCached, bytesTotal })),
        [...images.second.layers, { digest: images.second.configDigest, size: readConfigSize() }].map(
          ({ digest, size }, index) => ({
            id: digest.slice(0, 21),
            bytes: size,
            bytesCached: index === 0 ? size : 0,
            bytesTotal: size,
          }),
        ),
      );

      const again = await pullOnce({ programs, store, reference: `${proxy.address}/os:1`, tlsVerify: false });
      const layers = again.events.at(-1)?.event.parts.filter(({ part }) => part === "layer") ?? [];
      assert.deepEqual(
        layers.map(({ bytesCached }) => bytesCached),
        images.first.layers.map(({ size }) => size),
      );
    });

    test("pulls one image after the other", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const [reference, second] = [`${registry.address}/os:1`, `${registry.address}/os:2`];
      const session = await pullOnce({ programs, store, reference, more: [second], tlsVerify: false });
      assert.deepEqual([session.error, session.result?.name, session.mounts], [undefined, second, []]);
      assert.equal((await imagesOf(store)).length, 2);
    });

    test("clears a store that was half made", async () => {
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      await runProgram("sh", [
        "-c",
        `mkdir -p ${store.storage}.tmp/overlay && echo rubbish > ${store.storage}.tmp/storage.lock`,
      ]);
      const session = await pullOnce({ programs, store, reference: `${registry.address}/os:1`, tlsVerify: false });
      assert.equal(session.error, undefined);
      assert.deepEqual(readdirSync(join(store.path, "sysroot")), ["storage"]);
    });
  });
}

for (const { source, release } of [...combinations, { source: "skopeo", release: "modern" } as const]) {
  test(`the image for this machine out of a list, with ${source}, ${release}`, async () => {
    await using programs = await makeProgramsFolder({ release });
    await using store = await makeStoreFolder();
    const pull = { programs, store, source, tlsVerify: false };
    for (const name of ["list:1", `list@${images.listDigest}`]) {
      const session = await pullOnce({ ...pull, reference: `${registry.address}/${name}` });
      assert.deepEqual([session.error, session.result?.imageId], [undefined, hexOf(images.first.configDigest)], name);
    }
    const foreign = await pullOnce({ ...pull, reference: `${registry.address}/foreign-list:1` });
    assert.match(foreign.error?.message ?? "", /architecture/);
  });
}

test("a newer podman goes on with the store of an older one", async () => {
  await using older = await makeProgramsFolder({ release: "installed" });
  await using newer = await makeProgramsFolder({ release: "modern" });
  await using store = await makeStoreFolder();
  assert.equal(
    (await pullOnce({ programs: older, store, reference: `${registry.address}/os:1`, tlsVerify: false })).error,
    undefined,
  );
  const second = await pullOnce({ programs: newer, store, reference: `${registry.address}/os:2`, tlsVerify: false });
  assert.deepEqual([second.error, second.events.at(-1)?.event.bytesCached], [undefined, images.second.layers[0]?.size]);
  assert.equal((await imagesOf(store)).length, 2);
});

test("the host's own podman is not touched", async () => {
  await using programs = await makeProgramsFolder();
  await using store = await makeStoreFolder();
  const [libpod, containers] = ["libpod", "containers"].map((name) => join(store.path, name)) as [string, string];
  for (const folder of [libpod, containers]) mkdirSync(folder);
  const binds = [
    [libpod, "/run/libpod"],
    [containers, "/run/containers"],
  ] as const;
  const session = await pullOnce({ programs, store, binds, reference: `${registry.address}/os:1`, tlsVerify: false });
  assert.equal(session.error, undefined);
  assert.deepEqual([readdirSync(libpod), readdirSync(containers)], [[], []]);
});

function readConfigSize(): number {
  return readFileSync(join(images.layout.folder, "blobs/sha256", hexOf(images.second.configDigest))).length;
}
