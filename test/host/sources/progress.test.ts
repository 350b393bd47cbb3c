import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { BytesProgress } from "#base/progress.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTestImages, sizeOf } from "./images.ts";
import { makeProgramsFolder, releases } from "./programs-folder.ts";
import { makeStoreFolder, type PullSession, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

/** What holds for every pull. */
function assertSteady({ events }: PullSession): void {
  let before: BytesProgress | undefined;
  for (const { event } of events) {
    assert.ok(event.bytesTotal === 0 || event.bytes <= event.bytesTotal, `${event.bytes} of ${event.bytesTotal}`);
    assert.ok(event.bytes >= (before?.bytes ?? 0), "went back");
    for (const part of event.parts) {
      const earlier = before?.parts.find(({ id }) => id === part.id);
      assert.ok(part.bytes <= part.bytesTotal && part.bytes >= (earlier?.bytes ?? 0), JSON.stringify(part));
    }
    before = event;
  }
  const gaps = events.slice(1).map(({ at }, index) => at - (events[index]?.at ?? 0));
  assert.ok(Math.max(...gaps) < 1000, `an event came after ${Math.max(...gaps)} ms`);
  assert.deepEqual([before?.bytes, before?.steps], [before?.bytesTotal, before?.stepsTotal]);
}

function sizesBelow(folder: string): number[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).map(
    (name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0,
  );
}

for (const release of releases) {
  describe(`progress, ${release}`, { concurrency: true }, () => {
    test("podman counts the bytes of each blob", async () => {
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 1_500_000 });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      let largestFile = 0;
      const lookAt = () => {
        largestFile = Math.max(largestFile, ...sizesBelow(join(store.path, "temporary")));
        return false;
      };
      const reference = `${proxy.address}/os:1`;
      const session = await pullOnce({ programs, store, reference, tlsVerify: false, interruptWhen: lookAt });
      assert.equal(session.error, undefined);
      assert.ok(largestFile > 1_000_000, "blobs are not kept where they should be");
      assertSteady(session);
      const events = session.events.map(({ event }) => event);
      assert.ok(events.every(({ estimated }) => !estimated));
      const end = events.at(-1);
      assert.equal(end?.bytes, sizeOf(images.first) + (end?.parts.at(-1)?.bytes ?? 0));
      assert.deepEqual(
        end?.parts.filter(({ part }) => part === "layer").map(({ id, bytes }) => [id, bytes]),
        images.first.layers.map(({ digest, size }) => [digest.slice(0, 21), size]),
      );
      // 7.5 MB at this speed take 5 s: podman tells four times at least of the large layer on its way.
      const amounts = new Set(events.map(({ parts }) => parts[0]?.bytes ?? 0));
      assert.ok(amounts.size >= 5, [...amounts].join(" "));
      assert.ok(
        events.filter(
          ({ parts }) => parts[0]?.bytes !== 0 && parts[1]?.bytes !== 0 && parts[0]?.bytes !== parts[0]?.bytesTotal,
        ).length > 0,
      );
    });

    test("podman counts without skopeo, by what it is told", async () => {
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 2_500_000 });
      await using programs = await makeProgramsFolder({ release, programs: ["podman"] });
      await using store = await makeStoreFolder();
      const session = await pullOnce({ programs, store, reference: `${proxy.address}/os:1`, tlsVerify: false });
      assert.equal(session.error, undefined);
      assertSteady(session);
      const layer = images.first.layers[0];
      const part = session.events.at(-1)?.event.parts.find(({ id }) => layer?.digest.startsWith(id));
      assert.deepEqual([part?.bytes, part?.bytesTotal], [layer?.size, layer?.size]);
    });

    test("skopeo is estimated by its files, and right in sum", async () => {
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 2_500_000 });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const session = await pullOnce({
        programs,
        store,
        source: "skopeo",
        reference: `${proxy.address}/os:1`,
        tlsVerify: false,
      });
      assert.equal(session.error, undefined);
      assertSteady(session);
      assert.ok(session.events.every(({ event }) => event.estimated));
      assert.ok(new Set(session.events.map(({ event }) => event.bytes)).size >= 5);
      // Never more than what the registry has sent by then, here: by the end.
      assert.equal(session.events.at(-1)?.event.bytesCached, 0);
    });

    test("a registry that stalls does not silence it", async () => {
      await using proxy = await makeRegistryProxy(registry, { delayMs: 700 });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const session = await pullOnce({ programs, store, reference: `${proxy.address}/os:1`, tlsVerify: false });
      assert.equal(session.error, undefined);
      assertSteady(session);
    });
  });
}
