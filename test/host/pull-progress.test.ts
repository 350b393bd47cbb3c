import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pullWithPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, type Image, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { onehold } from "#fixtures/onehold.ts";
import { makeRegistry, type Registry } from "#fixtures/registry.ts";
import { directory, file } from "#fixtures/tar-writer.ts";

interface Amounts {
  readonly id: string;
  readonly bytes: number;
  readonly bytesCached: number;
  readonly bytesTotal: number;
}

interface TaskEvent extends Amounts {
  readonly type: string;
  readonly task: string;
  readonly subtasks: readonly Amounts[];
}

const labels = { "containers.bootc": "1" };
const layerSize = 3 << 20;

/** An image of three layers, and one that shares the first two with it. */
async function makeImages(layout: OciLayout): Promise<{ first: Image; second: Image }> {
  const layer = (name: string) =>
    addLayer(layout, {
      entries: [directory("usr"), file(`usr/${name}`, randomBytes(layerSize)), file(`usr/${name}-small`, name)],
    });
  const [a, b, c, d] = [await layer("a"), await layer("b"), await layer("c"), await layer("d")];
  return {
    first: addImage(layout, { tag: "os:1", layers: [a, b, c], labels }),
    second: addImage(layout, { tag: "os:2", layers: [a, b, d], labels }),
  };
}

async function withImages(
  kind: "xfs" | "ext4",
  run: (place: { folder: string; sysroot: string; registry: Registry; first: Image; second: Image }) => Promise<void>,
): Promise<void> {
  await withFileSystem(kind, { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const images = await makeImages(layout);
    await using registry = await makeRegistry({ layouts: [layout] });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    await run({ folder, sysroot, registry, ...images });
  });
}

test("importing is complete at its end and not before, under the name of the pull", { timeout: 60_000 }, async () => {
  await withImages("xfs", async ({ folder, sysroot, registry }) => {
    const log = join(folder, "progress.jsonl");
    const pull = async (tag: string, ...options: string[]) => {
      const args = ["image", "pull", `${registry.address}/os:${tag}`, "--tls-verify=false", "--progress-fd", "3"];
      await onehold(sysroot, [...args, ...options], { prefix: ["sh", "-c", 'exec "$@" 3>"$0"', log] });
      const lines = readFileSync(log, "utf8").trim().split("\n");
      return lines.map((line) => JSON.parse(line) as TaskEvent).filter(({ type }) => type === "ProgressBytes");
    };
    for (const tag of ["1", "2"]) {
      const events = await pull(tag);
      assert.deepEqual([...new Set(events.map(({ id }) => id))], [`${registry.address}/os:${tag}`]);
      const importing = events.filter(({ task }) => task === "importing");
      assert.ok(importing.length >= 2);
      assert.equal(new Set(importing.map(({ bytesTotal }) => bytesTotal)).size, 1, "the total stays");
      for (const { bytes, bytesTotal } of importing.slice(0, -1)) assert.ok(bytes < bytesTotal);
      const end = importing.at(-1);
      assert.equal(end?.bytes, end?.bytesTotal);
      assert.ok((end?.bytesTotal ?? 0) > layerSize * (tag === "1" ? 3 : 1));
      assert.ok((end?.bytesTotal ?? 0) < layerSize * (tag === "1" ? 4 : 2), "only layers that ostree had not got");
    }
  });
});

test("skopeo's pull has layers that are there as cached, from the start", { timeout: 60_000 }, async () => {
  await withImages("xfs", async ({ folder, sysroot, registry, second }) => {
    const log = join(folder, "progress.jsonl");
    const pull = (tag: string) =>
      onehold(
        sysroot,
        ["image", "pull", `${registry.address}/os:${tag}`, "--tls-verify=false", "--source=skopeo", "--progress-fd=3"],
        { prefix: ["sh", "-c", 'exec "$@" 3>"$0"', log] },
      );
    await pull("1");
    await pull("2");
    const events = readFileSync(log, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as TaskEvent);
    const pulling = events.filter(({ task }) => task === "pulling");
    for (const event of [pulling[0], pulling.at(-1)]) {
      const cached = event?.subtasks.filter((part) => part.bytesCached > 0 && part.bytes === part.bytesTotal);
      assert.deepEqual(
        cached?.map(({ id }) => id),
        second.layers.slice(0, 2).map(({ digest }) => digest.slice(0, 21)),
      );
    }
  });
});

for (const kind of ["xfs", "ext4"] as const) {
  test(`usage counts what was not written out yet (${kind})`, { timeout: 60_000 }, async () => {
    await withImages(kind, async ({ sysroot, registry, first }) => {
      await pullWithPodman(join(sysroot, "ostree/bootc/storage"), `${registry.address}/os:1`);
      const { images } = await onehold<{ images: { digest: string; bytes: number }[] }>(sysroot, ["usage"]);
      const image = images.find(({ digest }) => digest === first.manifestDigest);
      assert.ok((image?.bytes ?? 0) >= 3 * layerSize, `${image?.bytes}`);
    });
  });
}
