import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import {
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addImage, addLayer } from "#fixtures/oci-layout.ts";
import { file } from "#fixtures/tar-writer.ts";
import { owned } from "#linux/descriptor.ts";
import { tryLock } from "#linux/locks.ts";
import { type Leftovers, removeLeftovers } from "#stores/containers-storage/leftovers.ts";
import { readRecords } from "#stores/containers-storage/record-files.ts";
import { planImageRemoval } from "#stores/containers-storage/removal-plan.ts";
import { carryOut, removeImage } from "#stores/containers-storage/remove.ts";
import { withExclusiveLock } from "#stores/containers-storage/store-lock.ts";
import { layerChain, listImages, openImageStore } from "#stores/containers-storage/store.ts";
import type { Trash } from "#stores/containers-storage/trash.ts";
import { verifyLayer } from "#stores/containers-storage/verify-layer.ts";
import { addTwoImages, makeTestStore, type Podman, pull, versions } from "./podman-store.ts";
import { listStore } from "./store-listing.ts";

for (const version of versions) {
  describe(`a store of podman ${version}`, () => {
    test("has nothing that is left over", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      const id = await pull(store, "app");
      await store.podman.run("create", "--network", "none", id, "/bin/tool");
      const before = listStore(store.podman.root);
      assert.deepEqual(await clear(store.podman.root), { images: [], layers: [], paths: [] });
      assert.deepEqual(listStore(store.podman.root), before);
    });

    test("loses what belongs to nothing, and keeps what a running podman works on", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      await pull(store, "app");
      const { root } = store.podman;
      const before = listStore(root);
      const inUse = makeRubbish(root);
      const running = owned(openSync(join(root, `overlay/tempdirs/lock-${inUse}`), constants.O_RDWR));
      assert.ok(tryLock(running.fd, "exclusive"));

      const { paths } = await clear(root);
      assert.deepEqual(listStore(root), before);
      assert.equal(paths.length, 9);
      assert.deepEqual(readdirSync(join(root, "overlay/tempdirs")).toSorted(), [`lock-${inUse}`, `temp-dir-${inUse}`]);
      assert.deepEqual(readdirSync(join(root, "overlay/staging")), []);
      running[Symbol.dispose]();
      await clear(root);
      assert.deepEqual(readdirSync(join(root, "overlay/tempdirs")), []);
    });

    test("is finished after a removal that was killed at any step", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      const app = await pull(store, "app");
      const finished = listStore(store.podman.root);
      for (const finish of [clear, () => store.podman.run("images")]) {
        // Two layers, each with a folder and perhaps big data to go.
        for (let steps = 0; steps < 4; steps += 1) {
          const other = await pull(store, "other");
          await removeUntil(store.podman.root, other, steps);
          const opened = openImageStore(store.podman.root);
          assert.deepEqual(
            listImages(opened).map(({ id }) => id),
            [app],
            "whatever is listed is whole",
          );
          await finish(store.podman.root);
          assert.deepEqual(withoutNames(listStore(store.podman.root)), withoutNames(finished), `${steps} steps`);
        }
      }
    });

    test("is cleared of a pull that was killed, and pulls again", async () => {
      await using store = await makeTestStore(version);
      const files = Array.from({ length: 400 }, (_, i) => file(`f${i}`, randomBytes(100_000)));
      const layers = [
        await addLayer(store.layout, { entries: [file("a", "a")] }),
        await addLayer(store.layout, { entries: files }, "none"),
      ];
      addImage(store.layout, { tag: "large", layers });
      await killWhileUnpacking(store.podman);
      assert.ok(isUnpacking(store.podman.root), "it was killed while it unpacked");
      await clear(store.podman.root);
      assert.equal(isUnpacking(store.podman.root), false);
      const opened = openImageStore(store.podman.root);
      assert.deepEqual(listImages(opened), []);
      const id = await pull(store, "large");
      const [image] = listImages(opened);
      assert.ok(image);
      const chain = layerChain(opened, image);
      for (const layer of chain) assert.deepEqual(await verifyLayer(layer, chain), { outcome: "verified" });
      await removeImage(opened, { id });
      assert.deepEqual(await clear(store.podman.root), { images: [], layers: [], paths: [] });
    });
  });
}

async function clear(root: string): Promise<Leftovers> {
  return await withExclusiveLock(openImageStore(root), removeLeftovers);
}

/** Everything that a killed process may leave behind; returns the number of one temporary folder. */
function makeRubbish(root: string): string {
  const orphan = "0123456789abcdef".repeat(4);
  mkdirSync(join(root, "overlay", orphan, "diff"), { recursive: true });
  writeFileSync(join(root, "overlay", orphan, "link"), "ABCDEFGHIJKLMNOPQRSTUVWXYZ".slice(0, 26));
  symlinkSync(`../${"f".repeat(64)}/diff`, join(root, "overlay/l/ZZZZZZZZZZZZZZZZZZZZZZZZZZ"));
  writeFileSync(join(root, "overlay-layers", `${"a".repeat(64)}.tar-split.gz`), "");
  mkdirSync(join(root, "overlay-layers", "b".repeat(64)));
  mkdirSync(join(root, "overlay-images", orphan));
  for (const name of [
    "overlay-layers/.tmp-layers.json1",
    "overlay-images/.tmp-images.json2",
    "overlay-images/.onehold-new-3",
  ]) {
    writeFileSync(join(root, name), "[");
  }
  mkdirSync(join(root, "overlay/staging/4/dir"), { recursive: true });
  for (const number of ["5", "6"]) {
    mkdirSync(join(root, `overlay/tempdirs/temp-dir-${number}`), { recursive: true });
    writeFileSync(join(root, `overlay/tempdirs/temp-dir-${number}/file`), "");
    writeFileSync(join(root, `overlay/tempdirs/lock-${number}`), "");
  }
  return "6";
}

class Killed extends Error {}

/** Removes an image and stops, as a killed process does, when `steps` folders have been taken out of the store. */
async function removeUntil(root: string, id: string, steps: number): Promise<void> {
  let taken = 0;
  const number = randomInt(2 ** 32);
  const folder = join(root, `overlay/tempdirs/temp-dir-${number}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(root, `overlay/tempdirs/lock-${number}`), "");
  const trash: Trash = {
    add(path) {
      if (taken === steps) throw new Killed();
      if (existsSync(path)) renameSync(path, join(folder, `${taken}-${basename(path)}`));
      taken += 1;
    },
    [Symbol.dispose]() {},
  };
  const removal = withExclusiveLock(openImageStore(root), (hold) =>
    carryOut(hold, planImageRemoval(readRecords(hold), new Set([id])), trash),
  );
  await assert.rejects(removal, Killed);
}

/** podman 4.3 takes the name of the image in a layout's folder away from the image that had it before. */
function withoutNames(listing: Record<string, unknown>): string {
  return JSON.stringify(listing, (key, value: unknown) => (key === "names" ? undefined : value));
}

async function killWhileUnpacking(podman: Podman): Promise<void> {
  const [program, ...args] = await podman.command("pull", "--quiet", "oci:layout:large");
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], {
    cwd: dirname(podman.root),
    stdio: "ignore",
    detached: true,
    env: { ...process.env, TMPDIR: dirname(podman.root) },
  });
  const ended = once(child, "close");
  while (!isUnpacking(podman.root)) {
    assert.equal(child.exitCode, null, "podman was faster");
    await sleep(1);
  }
  if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  await ended;
}

/** Podman 4.3 unpacks into the layer's folder, 5.8 into a temporary one. */
function isUnpacking(root: string): boolean {
  const records = join(root, "overlay-layers/layers.json");
  const temporary = join(root, "overlay/tempdirs");
  return (
    (existsSync(records) && readFileSync(records, "utf8").includes("incomplete")) ||
    (existsSync(temporary) && readdirSync(temporary).length > 0)
  );
}
