import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { directory, file } from "#fixtures/tar-writer.ts";

const host = { "containers.bootc": "1" };

/** Compresses a thousandfold, and still is content that takes blocks. */
function compressible(size: number) {
  const chunk = Buffer.alloc(1 << 20, "onehold ");
  return {
    size,
    *chunks() {
      for (let left = size; left > 0; left -= chunk.length) yield left < chunk.length ? chunk.subarray(0, left) : chunk;
    },
  };
}

test("a disk that is too small, and a registry that fails", { timeout: 240_000 }, async (t) => {
  await using images = await makeTemporaryFolder("images");
  const layout = makeOciLayout(join(images.path, "layout"));
  const small = await addLayer(layout, { entries: [directory("usr"), file("usr/file", randomBytes(300_000))] });
  const incompressible = await addLayer(layout, { entries: [file("usr/large", randomBytes(140 << 20))] });
  const growing = await addLayer(layout, { entries: [file("usr/growing", compressible(400 << 20))] });
  addImage(layout, { tag: "small:1", layers: [small], labels: host });
  addImage(layout, { tag: "large:1", layers: [small, incompressible], labels: host });
  addImage(layout, { tag: "growing:1", layers: [small, growing], labels: host });
  await using registry = await makeRegistry({ layouts: [layout] });
  await using proxy = await makeRegistryProxy(registry);

  await withFileSystem("xfs", { sizeMiB: 340 }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const pull = (name: string) =>
      tryOnehold(sysroot, ["image", "pull", `${proxy.address}/${name}`, "--tls-verify=false"]);
    const first = await onehold<PullReport>(sysroot, [
      "image",
      "pull",
      `${proxy.address}/small:1`,
      "--pin",
      "--tls-verify=false",
    ]);

    const assertFirstIsWhole = async () => {
      await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
      const listed = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(
        listed.map(({ digest, stores }) => ({ digest, stores })),
        [{ digest: first.digest, stores: ["image store", "ostree"] }],
      );
      const mounted = await listMountedImage({
        additionalStore: join(sysroot, "ostree/bootc/storage"),
        image: `${proxy.address}/small:1`,
      });
      assert.ok(mounted.some(({ path, size }) => path === "usr/file" && size === 300_000));
      assert.deepEqual(readdirSync(join(sysroot, "onehold/tmp")), []);
      assert.deepEqual(readdirSync(join(sysroot, "onehold")).toSorted(), ["images", "layers", "lock", "pins", "tmp"]);
    };
    const assertRefused = async (name: string, why: RegExp) => {
      const ended = await pull(name);
      assert.equal(ended.status, 1, ended.stderr);
      assert.equal(ended.stderr.match(/^error: /gm)?.length, 1, ended.stderr);
      assert.match(ended.stderr, why);
      assert.match(ended.stderr, /^hint: .+/m);
      await assertFirstIsWhole();
    };

    await t.test("what surely does not fit is refused before the first blob", async () => {
      const before = proxy.blobsFetched().length;
      await assertRefused("large:1", /^error: pulling .*large:1 needs at least 29\d\.\d MB, .* has \d+\.\d MB left/m);
      assert.equal(proxy.blobsFetched().length, before);
    });

    await t.test("what turns out not to fit is stopped before the disk is full", async () => {
      const free = await freeBytes(folder);
      await assertRefused("growing:1", /^error: stopped before the disk was full/m);
      const lost = free - (await freeBytes(folder));
      assert.ok(lost < 4 << 20, `${lost} bytes did not come back`);
    });

    await t.test("an unknown image", () => assertRefused("unknown:1", /^error: .*unknown:1/m));

    await t.test("a blob that is not what its digest says", async () => {
      const other = makeOciLayout(join(images.path, "other"));
      const layer = await addLayer(other, { entries: [file("usr/other", randomBytes(200_000))] });
      addImage(other, { tag: "other:1", layers: [layer], labels: host });
      await using second = await makeRegistry({ layouts: [other] });
      await using liar = await makeRegistryProxy(second, { corrupt: layer.digest });
      const ended = await tryOnehold(sysroot, ["image", "pull", `${liar.address}/other:1`, "--tls-verify=false"]);
      assert.equal(ended.status, 1);
      assert.match(ended.stderr, /^error: .*other:1/m);
      await assertFirstIsWhole();
    });

    await t.test("a registry that is gone", async () => {
      await registry.stop();
      await assertRefused("small:2", /^error: .*small:2/m);
    });
  });
});

test("one operation at a time; readers do not wait", { timeout: 120_000 }, async () => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const layer = await addLayer(layout, { entries: [directory("usr"), file("usr/file", randomBytes(300_000))] });
    addImage(layout, { tag: "os:1", layers: [layer], labels: host });
    await using registry = await makeRegistry({ layouts: [layout] });
    await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 60_000 });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const arguments_ = ["image", "pull", `${proxy.address}/os:1`, "--tls-verify=false"];
    const first = tryOnehold(sysroot, arguments_);
    while (proxy.blobsFetched().length === 0) await setTimeout(20);
    const second = tryOnehold(sysroot, arguments_);
    const listed = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
    const state = await Promise.race([first.then(() => "ended"), Promise.resolve("running")]);
    assert.deepEqual([listed, state], [[], "running"], "a reader sees what is there, at once");
    assert.equal((await first).status, 0, (await first).stderr);
    assert.equal((await second).status, 0, (await second).stderr);
    assert.match((await second).stderr, /waiting for `image pull .*os:1` \(pid \d+\) to end/);
    assert.equal((await onehold<ListedImageReport[]>(sysroot, ["image", "list"])).length, 1);
  });
});

async function freeBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%f %S", folder])).split(" ").map(Number);
  return free * unit;
}
