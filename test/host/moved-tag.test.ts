import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { constants, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type FileSystemKind, withFileSystem } from "#fixtures/file-systems.ts";
import {
  addImage,
  addLayer,
  makeOciLayout,
  type Image,
  type ImageOptions,
  type OciLayout,
} from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage, type Registry } from "#fixtures/registry.ts";
import { directory, type Entry, file } from "#fixtures/tar-writer.ts";
import { openFile } from "#linux/descriptor.ts";
import { tryLock } from "#linux/locks.ts";

const labels = { "containers.bootc": "1" };
const ownSize = 24 << 20;

interface Place {
  readonly layout: OciLayout;
  readonly registry: Registry;
  readonly sysroot: string;
  readonly old: Image;
  readonly oldLayers: ImageOptions["layers"];
  readonly current: Image;
  /** Pulls `host:1`, which stands for that image from now on. */
  readonly pull: (image: Image, ...options: string[]) => Promise<PullReport>;
  readonly list: () => Promise<ListedImageReport[]>;
  readonly blobRefs: () => Promise<string[]>;
  readonly used: () => Promise<number>;
}

/** Two images on one base, of which the second takes the first one's tag. */
async function withPlace(kind: FileSystemKind, run: (place: Place) => Promise<void>): Promise<void> {
  await withFileSystem(kind, { sizeMiB: 500 }, async (folder) => {
    await using registry = await makeRegistry();
    const layout = makeOciLayout(join(folder, "layout"));
    const layer = (...entries: Entry[]) => addLayer(layout, { entries: [directory("usr"), ...entries] });
    const base = await layer(
      file("usr/lib/os-release", "ID=test\nPRETTY_NAME=test\n"),
      file("usr/lib/modules/1/vmlinuz", "kernel"),
      file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
      ...Array.from({ length: 40 }, (_, i) => file(`usr/base-${i}`, randomBytes(20_000))),
    );
    const oldLayers = [base, await layer(file("usr/old", randomBytes(ownSize)))];
    const old = addImage(layout, { tag: "old", layers: oldLayers, labels });
    const current = addImage(layout, {
      tag: "current",
      layers: [base, await layer(file("usr/current", randomBytes(ownSize)))],
      labels,
    });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");
    await run({
      layout,
      registry,
      sysroot,
      old,
      oldLayers,
      current,
      async pull(image, ...options) {
        await pushImage(layout, image === old ? "old" : "current", registry, "host:1");
        const arguments_ = ["image", "pull", `${registry.address}/host:1`, "--tls-verify=false", "--allow-copy"];
        return await onehold<PullReport>(sysroot, [...arguments_, ...options]);
      },
      list: () => onehold<ListedImageReport[]>(sysroot, ["image", "list"]),
      async blobRefs() {
        const refs = await runProgram("ostree", [`--repo=${repository}`, "refs", "--list", "ostree/container/blob"]);
        return refs.trim().split("\n").toSorted();
      },
      async used() {
        await runProgram("sync", ["-f", sysroot]);
        return Number((await runProgram("df", ["--output=used", "-B1", sysroot])).split("\n")[1]);
      },
    });
    await runProgram("ostree", [`--repo=${repository}`, "fsck", "--quiet"]);
  });
}

const blobRef = (digest: string) => `ostree/container/blob/${digest.replace(":", "_3A_")}`;
const blobRefsOf = (image: Image) => image.layers.map(({ digest }) => blobRef(digest)).toSorted();
const idOf = (image: Image) => image.configDigest.slice("sha256:".length);

for (const kind of ["xfs", "ext4"] as const) {
  test(`an unpinned tag that moves leaves nothing behind in ostree (${kind})`, { timeout: 120_000 }, async () => {
    await withPlace(kind, async ({ sysroot, registry, old, current, pull, list, blobRefs, used }) => {
      await pull(current);
      const alone = await used();
      await onehold(sysroot, ["image", "remove", `${registry.address}/host:1`]);
      assert.deepEqual(await list(), []);

      const first = await pull(old);
      const second = await pull(current);
      assert.deepEqual(await blobRefs(), blobRefsOf(current), "refs of layers that nobody needs are gone");
      assert.deepEqual(
        (await list()).map(({ digest, names, reasons }) => ({ digest, names, reasons })).toSorted(byDigest),
        [
          { digest: old.manifestDigest, names: [], reasons: [] },
          { digest: current.manifestDigest, names: [`${registry.address}/host:1`], reasons: [] },
        ].toSorted(byDigest),
      );
      const { images } = await onehold<{ images: { digest: string }[] }>(sysroot, ["usage"]);
      assert.ok(images.some(({ digest }) => digest === old.manifestDigest));

      await onehold(sysroot, ["image", "remove", idOf(old).slice(0, 12)]);
      assert.deepEqual(
        (await list()).map(({ digest }) => digest),
        [current.manifestDigest],
      );
      const repository = join(sysroot, "ostree/repo");
      await assert.rejects(runProgram("ostree", [`--repo=${repository}`, "show", first.ostree?.commit ?? ""]));
      await runProgram("ostree", [`--repo=${repository}`, "ls", second.ostree?.commit ?? "", "/usr/current"]);
      const lost = (await used()) - alone;
      assert.ok(lost < 1 << 20, `${lost} bytes did not come back`);
    });
  });
}

const byDigest = (a: { digest: string }, b: { digest: string }) => (a.digest < b.digest ? -1 : 1);

test("removed by digest, by name and by ID: what another image has stays", { timeout: 120_000 }, async () => {
  await withPlace("xfs", async ({ sysroot, registry, old, current, pull, list, blobRefs, used }) => {
    await pull(current);
    const alone = await used();
    for (const name of [old.manifestDigest, idOf(old), old.configDigest]) {
      await pull(old);
      await pull(current);
      await onehold(sysroot, ["image", "remove", name]);
      assert.deepEqual(await blobRefs(), blobRefsOf(current), name);
      assert.deepEqual(
        (await list()).map(({ digest }) => digest),
        [current.manifestDigest],
        name,
      );
      const lost = (await used()) - alone;
      assert.ok(lost < 1 << 20, `${name}: ${lost} bytes did not come back`);
    }
    await onehold(sysroot, ["image", "remove", `${registry.address}/host:1`]);
    assert.deepEqual(await blobRefs(), [""]);
    assert.deepEqual(await list(), []);
    assert.ok(alone - (await used()) > ownSize);
  });
});

test("a tag that moves to an image that is not the host's", { timeout: 60_000 }, async () => {
  await withPlace("xfs", async ({ layout, registry, sysroot, old, oldLayers, pull, list, blobRefs }) => {
    await pull(old);
    addImage(layout, { tag: "app", layers: oldLayers });
    await pushImage(layout, "app", registry, "host:1");
    await onehold(sysroot, ["image", "pull", `${registry.address}/host:1`, "--tls-verify=false"]);
    assert.deepEqual(await blobRefs(), [""]);
    assert.deepEqual(
      (await list()).map(({ stores }) => stores),
      [["image store"], ["image store"]],
    );
  });
});

test("a deployment keeps its image and its layers, whatever becomes of the tag", { timeout: 120_000 }, async () => {
  await withPlace("xfs", async ({ sysroot, registry, old, current, pull, list, blobRefs }) => {
    const { ostree } = await pull(old);
    const admin = (...args: string[]) =>
      runProgram("ostree", ["admin", ...args], {
        env: { ...process.env, OSTREE_SYSROOT: sysroot, OSTREE_SYSROOT_DEBUG: "mutable-deployments" },
      });
    for (const folder of ["boot", "ostree/deploy"]) mkdirSync(join(sysroot, folder));
    await admin("os-init", "test");
    await admin("deploy", "--os=test", "--no-prune", ostree?.commit ?? "");
    await pull(current);
    assert.deepEqual(await blobRefs(), [...new Set([...blobRefsOf(old), ...blobRefsOf(current)])].toSorted());
    const listed = (await list()).find(({ digest }) => digest === old.manifestDigest);
    assert.deepEqual(listed?.stores, ["image store", "ostree"]);
    assert.deepEqual(listed.reasons, ["deployed"]);
    const refused = await tryOnehold(sysroot, ["image", "remove", old.manifestDigest]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^error: .* can't be removed: it is deployed$/m);

    await onehold(sysroot, ["image", "remove", `${registry.address}/host:1`]);
    assert.deepEqual(await blobRefs(), blobRefsOf(old));
    await admin("undeploy", "0");
    await onehold(sysroot, ["image", "remove", old.manifestDigest]);
    assert.deepEqual([await blobRefs(), await list()], [[""], []]);
  });
});

test("layers of a pull of bootc's that is under way stay until it ends", { timeout: 60_000 }, async () => {
  await withPlace("xfs", async ({ sysroot, registry, old, pull, blobRefs }) => {
    const { ostree } = await pull(old);
    const repository = join(sysroot, "ostree/repo");
    const theirs = "ostree/container/blob/sha256_3A_00";
    await runProgram("ostree", [`--repo=${repository}`, "refs", `--create=${theirs}`, ostree?.commit ?? ""]);
    const lockFile = join(sysroot, "ostree/lock");
    using held = openFile(lockFile, constants.O_RDWR | constants.O_CREAT, 0o600);
    assert.ok(tryLock(held.fd, "exclusive"));
    const removing = tryOnehold(sysroot, ["image", "remove", `${registry.address}/host:1`]);
    await setTimeout(2000);
    assert.deepEqual(await blobRefs(), [...blobRefsOf(old), theirs].toSorted());
    // As libostree does: whoever waits has the lock of a lockFile that is gone.
    rmSync(lockFile);
    held[Symbol.dispose]();
    const { status, stderr } = await removing;
    assert.equal(status, 0, stderr);
    assert.match(stderr, /waiting for the lock of the ostree sysroot/);
    assert.equal(existsSync(lockFile), false);
    assert.deepEqual(await blobRefs(), [""], "nobody needs it after all");
  });
});
