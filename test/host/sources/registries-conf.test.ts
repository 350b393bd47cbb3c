import assert from "node:assert/strict";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { makeTestImages } from "./images.ts";
import { combinations, makeProgramsFolder } from "./programs-folder.ts";
import { makeConfiguration, makeStoreFolder, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

const accept = JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] });

for (const { source, release } of combinations) {
  describe(`registries.conf and --tls-verify with ${source}, ${release}`, { concurrency: true }, () => {
    test("a registry without TLS", async () => {
      await using root = await makeTemporaryFolder("root");
      const etcContainers = join(root.path, "etc/containers");
      makeConfiguration(etcContainers, { "policy.json": accept, "registries.conf": "" });
      await using programs = await makeProgramsFolder({ release, programs: [source], etcContainers });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, root: root.path, reference: `${registry.address}/os:1` };

      const refused = await pullOnce(pull);
      assert.match(refused.error?.message ?? "", /does not speak TLS/);
      assert.match(refused.error?.hint ?? "", /--tls-verify=false/);
      assert.equal((await pullOnce({ ...pull, tlsVerify: false })).error, undefined);

      const table = `[[registry]]\nlocation = "${registry.address}"\ninsecure = true\n`;
      makeConfiguration(etcContainers, { "registries.conf.d/50-test.conf": table });
      assert.equal((await pullOnce(pull)).error, undefined);
      assert.match((await pullOnce({ ...pull, tlsVerify: true })).error?.message ?? "", /does not speak TLS/);
    });

    test("a registry with a certificate of its own", async () => {
      await using secure = await makeRegistry({ layouts: [images.layout], tls: true });
      await using root = await makeTemporaryFolder("root");
      const etcContainers = join(root.path, "etc/containers");
      makeConfiguration(etcContainers, { "policy.json": accept });
      await using programs = await makeProgramsFolder({ release, programs: [source], etcContainers });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, root: root.path, reference: `${secure.address}/os:1` };

      assert.match((await pullOnce(pull)).error?.message ?? "", /certificate is not trusted/);
      assert.equal((await pullOnce({ ...pull, tlsVerify: false })).error, undefined);
      mkdirSync(join(etcContainers, "certs.d", secure.address), { recursive: true });
      cpSync(secure.certificate ?? "", join(etcContainers, "certs.d", secure.address, "ca.crt"));
      assert.equal((await pullOnce({ ...pull, tlsVerify: true })).error, undefined);
    });

    test("a mirror", async () => {
      await using mirror = await makeRegistryProxy(registry);
      await using root = await makeTemporaryFolder("root");
      const etcContainers = join(root.path, "etc/containers");
      const conf = (insecure: boolean) => `
          [[registry]]
          prefix = "registry.invalid/team"
          location = "127.0.0.1:1/nobody"
          [[registry.mirror]]
          location = "${mirror.address}"
          insecure = ${insecure}`;
      makeConfiguration(etcContainers, { "policy.json": accept, "registries.conf": conf(true) });
      await using programs = await makeProgramsFolder({ release, programs: [source], etcContainers });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, root: root.path, reference: "registry.invalid/team/os:1" };

      const session = await pullOnce(pull);
      assert.deepEqual([session.error, session.result?.name], [undefined, "registry.invalid/team/os:1"]);
      assert.equal(mirror.blobsFetched().length, 3);
      makeConfiguration(etcContainers, { "registries.conf": conf(false) });
      assert.match(
        (await pullOnce({ ...pull, reference: "registry.invalid/team/os:2" })).error?.code ?? "",
        /pull-failed/,
      );
      assert.equal(
        (await pullOnce({ ...pull, reference: "registry.invalid/team/os:2", tlsVerify: false })).error,
        undefined,
      );
    });
  });
}
