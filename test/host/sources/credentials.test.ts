import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { makeTestImages } from "./images.ts";
import { combinations, makeProgramsFolder } from "./programs-folder.ts";
import { makeConfiguration, makeStoreFolder, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

const credentials = { user: "operator", password: "secret" };

for (const { source, release } of combinations) {
  describe(`credentials with ${source}, ${release}`, { concurrency: true }, () => {
    test("come from the host's file", async () => {
      await using closed = await makeRegistry({ layouts: [images.layout], credentials });
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      await using root = await makeTemporaryFolder("root");
      const right = readFileSync(closed.authFile ?? "", "utf8");
      const wrong = JSON.stringify({
        auths: { [closed.address]: { auth: Buffer.from("operator:wrong").toString("base64") } },
      });
      const pull = {
        programs,
        store,
        source,
        reference: `${closed.address}/os:1`,
        tlsVerify: false,
        root: root.path,
      };

      makeConfiguration(root.path, { "etc/ostree/auth.json": wrong, "usr/lib/ostree/auth.json": right });
      const refused = await pullOnce(pull);
      assert.equal(refused.error?.code, "pull-failed");
      assert.match(refused.error?.message ?? "", /refuses access/);
      assert.match(refused.error?.hint ?? "", /etc\/ostree\/auth\.json/);

      makeConfiguration(root.path, { "run/ostree/auth.json": right });
      const taken = await pullOnce(pull);
      assert.deepEqual([taken.error, taken.result?.imageId], [undefined, hexOf(images.first.configDigest)]);
    });

    test("never come from the user's files", async () => {
      await using closed = await makeRegistry({ layouts: [images.layout], credentials });
      await using programs = await makeProgramsFolder({ release, programs: [source] });
      await using store = await makeStoreFolder();
      await using home = await makeTemporaryFolder("home");
      await using root = await makeTemporaryFolder("root");
      const authFile = closed.authFile ?? "";
      for (const folder of [".docker", ".config/containers", "runtime/containers"])
        mkdirSync(join(home.path, folder), { recursive: true });
      for (const file of [".docker/config.json", ".config/containers/auth.json", "runtime/containers/auth.json"])
        cpSync(authFile, join(home.path, file));
      const env = {
        HOME: home.path,
        XDG_RUNTIME_DIR: join(home.path, "runtime"),
        XDG_CONFIG_HOME: join(home.path, ".config"),
        DOCKER_CONFIG: join(home.path, ".docker"),
        REGISTRY_AUTH_FILE: authFile,
      };
      const session = await pullOnce({
        programs,
        store,
        source,
        env,
        reference: `${closed.address}/os:1`,
        tlsVerify: false,
        root: root.path,
      });
      assert.match(session.error?.message ?? "", /refuses access/);
    });
  });
}

test("other settings of the user's don't count either", async () => {
  await using programs = await makeProgramsFolder();
  await using store = await makeStoreFolder();
  await using home = await makeTemporaryFolder("home");
  const reject = JSON.stringify({ default: [{ type: "reject" }] });
  makeConfiguration(home.path, {
    ".config/containers/policy.json": reject,
    ".config/containers/registries.conf": `[[registry]]\nlocation = "${registry.address}"\nblocked = true\n`,
    "storage.conf": `[storage]\ndriver = "vfs"\n`,
  });
  const env = {
    HOME: home.path,
    CONTAINERS_STORAGE_CONF: join(home.path, "storage.conf"),
    CONTAINERS_REGISTRIES_CONF: join(home.path, ".config/containers/registries.conf"),
    STORAGE_DRIVER: "vfs",
    STORAGE_OPTS: "additionalimagestore=/nonexistent",
    TMPDIR: "/nonexistent",
  };
  const session = await pullOnce({ programs, store, env, reference: `${registry.address}/os:1`, tlsVerify: false });
  assert.equal(session.error, undefined);
});

test("a file that can't be used is named before anything is done", async () => {
  await using programs = await makeProgramsFolder();
  await using store = await makeStoreFolder();
  await using root = await makeTemporaryFolder("root");
  mkdirSync(join(root.path, "etc/ostree"), { recursive: true });
  writeFileSync(join(root.path, "etc/ostree/auth.json"), "{");
  const session = await pullOnce({ programs, store, reference: "localhost:1/os:1", root: root.path });
  assert.match(session.error?.message ?? "", /etc\/ostree\/auth\.json can't be used: it is not JSON/);
  assert.match(session.error?.hint ?? "", /podman login/);
});
