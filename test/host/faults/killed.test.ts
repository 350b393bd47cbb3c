import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { hexOf } from "#base/digest.ts";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { directory, file, symlink, whiteout } from "#fixtures/tar-writer.ts";

const repositoryName = "os:1";
const stages = ["pulling", "pulled", "sharing", "publishing", "refs", "recording"] as const;

interface UsageReport {
  readonly leftoverLayers: readonly unknown[];
}

test("a pull that was killed is finished by the next one", { timeout: 300_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 1024 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addLayer(layout, {
      entries: [
        directory("usr"),
        file("usr/large", randomBytes(400_000)),
        file("usr/goes", "x"),
        symlink("usr/link", "large"),
      ],
    });
    const upper = await addLayer(layout, {
      entries: [whiteout("usr/goes"), file("etc/new", randomBytes(50_000)), directory("var")],
    });
    addImage(layout, { tag: repositoryName, layers: [base, upper], labels: { "containers.bootc": "1" } });
    const pull = ["image", "pull", `oci:${layout.folder}:${repositoryName}`, "--pin"];

    const undisturbed = join(folder, "undisturbed");
    mkdirSync(undisturbed);
    const expected = await onehold<PullReport>(undisturbed, pull);
    const expectedState = await stateOf(undisturbed);

    for (const stage of stages) {
      await t.test(`killed at "${stage}"`, async () => {
        const sysroot = join(folder, stage);
        mkdirSync(sysroot);
        const mounts = mountsOf(folder);
        const killed = await tryOnehold(sysroot, pull, { env: { ONEHOLD_KILL_AT: stage } });
        assert.equal(killed.signal ?? killed.status, killed.signal === null ? 137 : "SIGKILL", killed.stderr);
        assert.deepEqual(mountsOf(folder), mounts, "no mount is left");
        await noneLeft(sysroot);
        const ended = await tryOnehold(sysroot, [...pull, "--json"]);
        assert.equal(ended.status, 0, ended.stderr);
        assert.match(ended.stderr, new RegExp(`clearing what .* left, which ended in stage "${stage}"`));
        const report = JSON.parse(ended.stdout) as PullReport;
        assert.equal(report.digest, expected.digest);
        await assertWhole(sysroot, expectedState);
      });
    }

    await t.test("killed in the middle of podman's pull", async () => {
      await using registry = await makeRegistry({ layouts: [layout] });
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 50_000 });
      const sysroot = join(folder, "middle");
      mkdirSync(sysroot);
      const fromRegistry = ["image", "pull", `${proxy.address}/${repositoryName}`, "--tls-verify=false", "--pin"];
      const killed = tryOnehold(sysroot, fromRegistry);
      while (proxy.blobsFetched().length === 0) await setTimeout(20);
      await setTimeout(1000);
      const operation = JSON.parse(readFileSync(join(sysroot, "onehold/operation.json"), "utf8")) as { pid: number };
      process.kill(operation.pid, "SIGKILL");
      assert.notEqual((await killed).status, 0);
      await noneLeft(sysroot);
      delete proxy.faults.bytesPerSecond;
      const report = await onehold<PullReport>(sysroot, fromRegistry);
      assert.equal(report.digest, expected.digest);
      assert.equal(report.ostree?.commit, expected.ostree?.commit);
      assert.deepEqual((await onehold<UsageReport>(sysroot, ["usage"])).leftoverLayers, []);
      assert.deepEqual(readdirSync(join(sysroot, "onehold/tmp")), []);
    });

    await t.test("a layer that never reached the disk is dropped and fetched again", async () => {
      const sysroot = join(folder, "damaged");
      mkdirSync(sysroot);
      await tryOnehold(sysroot, pull, { env: { ONEHOLD_KILL_AT: "pulled" } });
      truncateSync(join(sysroot, "ostree/bootc/storage/overlay", hexOf(base.diffId), "diff/usr/large"), 0);
      const ended = await tryOnehold(sysroot, pull);
      assert.equal(ended.status, 0, ended.stderr);
      assert.match(ended.stderr, /dropped \d layers? that a killed pull had left damaged/);
      await assertWhole(sysroot, expectedState);
    });
  });
});

/** What a pull leaves, as far as it does not tell when it was. */
async function stateOf(sysroot: string) {
  const repository = join(sysroot, "ostree/repo");
  const refs: Record<string, string> = {};
  for (const ref of (await runProgram("ostree", [`--repo=${repository}`, "refs"])).trim().split("\n").toSorted()) {
    refs[ref] = (await runProgram("ostree", [`--repo=${repository}`, "rev-parse", ref])).trim();
  }
  const objects = readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" });
  const layers = readdirSync(join(sysroot, "ostree/bootc/storage/overlay")).filter((name) =>
    /^[0-9a-f]{64}$/.test(name),
  );
  const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
  return {
    refs,
    objects: objects.filter((name) => name.includes(".")).toSorted(),
    layers: layers.toSorted(),
    images: images.map(({ names, digest, stores, reasons, notes }) => ({ names, digest, stores, reasons, notes })),
  };
}

async function assertWhole(sysroot: string, expected: Awaited<ReturnType<typeof stateOf>>): Promise<void> {
  const repository = join(sysroot, "ostree/repo");
  assert.deepEqual(await stateOf(sysroot), expected);
  await runProgram("ostree", [`--repo=${repository}`, "fsck", "--quiet"]);
  assert.deepEqual(
    readdirSync(join(repository, "tmp")).filter((name) => name.startsWith("onehold-")),
    [],
  );
  assert.deepEqual(readdirSync(join(sysroot, "onehold/tmp")), []);
  assert.equal(existsSync(join(sysroot, "onehold/operation.json")), false);
  assert.deepEqual((await onehold<UsageReport>(sysroot, ["usage"])).leftoverLayers, []);
  const additionalStore = join(sysroot, "ostree/bootc/storage");
  const mounted = await listMountedImage({ additionalStore, image: expected.images[0]?.names[0] ?? "" });
  assert.ok(mounted.some(({ path, size }) => path === "usr/large" && size === 400_000));
}

/** Children die with us by a signal of the kernel's, which takes a moment. */
async function noneLeft(sysroot: string): Promise<void> {
  for (let attempt = 0; programsOn(sysroot).length > 0 && attempt < 50; attempt += 1) await setTimeout(100);
  assert.deepEqual(programsOn(sysroot), [], "podman ends with us");
}

/** Processes in whose mount namespace podman's store is this sysroot's: ours, and those that it started. */
function programsOn(sysroot: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8");
        return mounts.includes(`/${basename(sysroot)}/ostree/bootc/storage /run/bootc/storage `);
      } catch {
        return false; // It has just ended.
      }
    });
}

/** Of this test alone: others mount as well. */
function mountsOf(folder: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => line.includes(folder) || line.includes("/run/bootc") || line.includes("/run/libpod"));
}
