import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { parseDigest } from "#base/digest.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { file, hardlink } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { makeTestImages } from "./images.ts";
import { combinations, makeProgramsFolder, releases } from "./programs-folder.ts";
import { makeConfiguration, makeStoreFolder, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

const firstLayer = parseDigest(images.first.layers[0]?.digest ?? "");

for (const { source, release } of combinations) {
  describe(`failures of ${source}, ${release}`, { concurrency: true }, () => {
    test("no such image, no such registry", async () => {
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, tlsVerify: false };
      for (const name of ["os:nope", "nothing/here:1"]) {
        const { error } = await pullOnce({ ...pull, reference: `${registry.address}/${name}` });
        assert.equal(error?.code, "pull-failed");
        assert.equal(error?.subject, `${registry.address}/${name}`);
        assert.match(error?.message ?? "", /was not pulled: there is no such image: .*unknown/);
      }
      const { error } = await pullOnce({ ...pull, reference: "127.0.0.1:1/os:1" });
      assert.equal(error?.code, "pull-failed");
      assert.match(error?.message ?? "", /can't be reached.*127\.0\.0\.1:1.*refused/);
    });

    test("a registry that goes away half-way", async () => {
      await using proxy = await makeRegistryProxy(registry, { cutAfter: 3_000_000 });
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      const session = await pullOnce({ programs, store, source, tlsVerify: false, reference: `${proxy.address}/os:1` });
      assert.equal(session.error?.code, "pull-failed");
      assert.match(session.error?.message ?? "", /connection broke/);
      assert.deepEqual([session.mounts, session.temporary], [[], []]);
    });

    test("a blob that is not what the manifest says", async () => {
      await using proxy = await makeRegistryProxy(registry, { corrupt: firstLayer });
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      const { error, temporary } = await pullOnce({
        programs,
        store,
        source,
        tlsVerify: false,
        reference: `${proxy.address}/os:1`,
      });
      assert.equal(error?.code, "corrupt", String(error?.message));
      assert.deepEqual(temporary, []);
    });

    test("a layer that can't be unpacked", async () => {
      await using folder = await makeTemporaryFolder("images");
      const layout = makeOciLayout(folder.path);
      const base = await addLayer(layout, { entries: [file("lower", "x")] });
      const above = await addLayer(layout, { entries: [hardlink("upper", "lower")] });
      addImage(layout, { tag: "os:1", layers: [base, above] });
      await using broken = await makeRegistry({ layouts: [layout] });
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      const { error } = await pullOnce({
        programs,
        store,
        source,
        tlsVerify: false,
        reference: `${broken.address}/os:1`,
      });
      assert.equal(error?.code, "corrupt", String(error?.message));
      assert.match(error?.message ?? "", new RegExp(`can't be unpacked: .*${above.digest}`));
    });

    test("a disk that is too small", async () => {
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      const { error } = await pullOnce({
        programs,
        store,
        source,
        tlsVerify: false,
        reference: `${registry.address}/os:1`,
        storeSizeMiB: 4,
      });
      assert.equal(error?.code, "no-space", String(error?.message));
      assert.match(error?.hint ?? "", /Make room/);
    });

    test("a policy that forbids it", async () => {
      await using proxy = await makeRegistryProxy(registry);
      await using folder = await makeTemporaryFolder("root");
      const etcContainers = join(folder.path, "etc/containers");
      makeConfiguration(etcContainers, {
        "policy.json": JSON.stringify({
          default: [{ type: "insecureAcceptAnything" }],
          transports: { docker: { [`${proxy.address}/os`]: [{ type: "reject" }] } },
        }),
      });
      await using programs = await makeProgramsFolder({ release, programs: [source], etcContainers });
      await using store = await makeStoreFolder();
      const { error } = await pullOnce({
        programs,
        store,
        source,
        tlsVerify: false,
        reference: `${proxy.address}/os:1`,
      });
      assert.equal(error?.code, "pull-failed");
      assert.match(error?.message ?? "", /signature policy of this host/);
      assert.match(error?.hint ?? "", /etc\/containers\/policy\.json/);
      assert.deepEqual(proxy.blobsFetched(), []);
    });
  });
}

for (const release of releases) {
  test(`a store that podman knows under another path, ${release}`, async () => {
    await using programs = await makeProgramsFolder({ release });
    await using store = await makeStoreFolder();
    const options = ["--root", store.storage, "--runroot", join(store.path, "r"), "--storage-driver", "overlay"];
    await runProgram(join(programs.path, "podman"), [...options, "images"]);
    const pull = { programs, store, tlsVerify: false, reference: `${registry.address}/os:1` };
    const { error } = await pullOnce(pull);
    assert.match(error?.message ?? "", /under another path/);
    assert.match(error?.hint ?? "", /bolt_state\.db/);
    for (const database of ["libpod/bolt_state.db", "db.sql"]) rmSync(join(store.storage, database), { force: true });
    assert.equal((await pullOnce(pull)).error, undefined);
  });
}

describe("without the programs", () => {
  test("there is an error that says so", async () => {
    await using programs = await makeProgramsFolder({ programs: [] });
    await using store = await makeStoreFolder();
    const { error } = await pullOnce({ programs, store, reference: "localhost:1/os:1" });
    assert.equal(error?.code, "program-missing");
    assert.match(error?.message ?? "", /podman or skopeo/);
    assert.match(error?.hint ?? "", /Install/);
  });

  test("the one that was asked for must be there", async () => {
    await using programs = await makeProgramsFolder({ programs: ["podman"] });
    await using store = await makeStoreFolder();
    assert.equal(
      (await pullOnce({ programs, store, source: "skopeo", reference: "localhost:1/os:1" })).error?.code,
      "program-missing",
    );
  });

  test("skopeo alone is enough, and podman goes on with its store", async () => {
    await using store = await makeStoreFolder();
    await using skopeo = await makeProgramsFolder({ programs: ["skopeo"] });
    const first = await pullOnce({ programs: skopeo, store, reference: `${registry.address}/os:1`, tlsVerify: false });
    assert.deepEqual([first.error, first.result?.program], [undefined, "skopeo"]);
    await using both = await makeProgramsFolder();
    const second = await pullOnce({ programs: both, store, reference: `${registry.address}/os:2`, tlsVerify: false });
    assert.deepEqual([second.error, second.result?.program], [undefined, "podman"]);
    assert.equal(second.events.at(-1)?.event.bytesCached, images.second.layers[0]?.size);
  });
});
