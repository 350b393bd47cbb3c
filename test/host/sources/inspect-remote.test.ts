import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { blobPath } from "#fixtures/oci-layout.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { makeTestImages, sizeOf } from "./images.ts";
import { makeProgramsFolder, releases } from "./programs-folder.ts";
import { makeConfiguration, makeStoreFolder, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

for (const release of releases) {
  describe(`what a source announces, ${release}`, () => {
    test("the manifest, byte for byte, and the size; no blob is fetched", async () => {
      await using proxy = await makeRegistryProxy(registry);
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const inspect = { programs, store, inspect: true, tlsVerify: false };
      const bytes = readFileSync(blobPath(images.layout, images.first.manifestDigest));
      const configSize = readFileSync(blobPath(images.layout, images.first.configDigest)).length;
      for (const reference of [
        `${proxy.address}/os:1`,
        `${proxy.address}/list:1`,
        `${proxy.address}/list@${images.listDigest}`,
        `oci:${images.layout.folder}:os:1`,
      ]) {
        const { remote, error } = await pullOnce({ ...inspect, reference });
        assert.equal(error, undefined, reference);
        assert.equal(remote?.digest, images.first.manifestDigest);
        assert.equal(remote.indexDigest, reference.includes("list") ? images.listDigest : undefined);
        assert.deepEqual(Buffer.from(remote.bytes, "base64"), bytes);
        assert.equal(remote.size, sizeOf(images.first) + configSize);
      }
      assert.deepEqual(proxy.blobsFetched(), []);
    });

    test("or why there is nothing", async () => {
      await using closed = await makeRegistry({ layouts: [images.layout], credentials: { user: "a", password: "b" } });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      await using root = await makeTemporaryFolder("root");
      const inspect = { programs, store, inspect: true, tlsVerify: false, root: root.path };
      const reason = async (reference: string) => (await pullOnce({ ...inspect, reference })).error?.message ?? "";
      assert.match(await reason(`${registry.address}/os:nope`), /no such image/);
      assert.match(await reason(`${registry.address}/foreign-list:1`), /architecture/);
      assert.match(await reason(`${closed.address}/os:1`), /refuses access/);
      assert.match(await reason("127.0.0.1:1/os:1"), /can't be reached/);
      makeConfiguration(root.path, { "etc/ostree/auth.json": readFileSync(closed.authFile ?? "", "utf8") });
      assert.equal(await reason(`${closed.address}/os:1`), "");
    });

    test("a manifest that was changed on the way is refused", async () => {
      await using proxy = await makeRegistryProxy(registry, { corrupt: images.first.manifestDigest });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const { error } = await pullOnce({
        programs,
        store,
        inspect: true,
        tlsVerify: false,
        reference: `${proxy.address}/os@${images.first.manifestDigest}`,
      });
      assert.equal(error?.code, "corrupt", String(error?.message));
    });
  });
}

test("nothing can be announced without skopeo", async () => {
  await using programs = await makeProgramsFolder({ programs: ["podman"] });
  await using store = await makeStoreFolder();
  const { remote, error } = await pullOnce({ programs, store, inspect: true, reference: "127.0.0.1:1/os:1" });
  assert.deepEqual([remote, error], [null, undefined]);
});
