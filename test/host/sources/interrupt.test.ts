import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { BytesProgress } from "#base/progress.ts";
import { mountPointsBelow } from "#fixtures/temporary-folders.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTestImages } from "./images.ts";
import { combinations, makeProgramsFolder } from "./programs-folder.ts";
import { makeStoreFolder, pullOnce } from "./pull-session.ts";

const images = await makeTestImages();
after(() => images[Symbol.asyncDispose]());
const registry = await makeRegistry({ layouts: [images.layout] });
after(() => registry[Symbol.asyncDispose]());

/** Processes that have a folder in their command line, or are at work in it. */
function processesWith(folder: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) => {
      try {
        return [
          readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ") +
            readFileSync(`/proc/${pid}/environ`, "utf8"),
        ];
      } catch {
        return [];
      }
    })
    .filter((text) => text.includes(folder));
}

for (const { source, release } of combinations) {
  describe(`interrupting ${source}, ${release}`, () => {
    test("ends it at once and leaves nothing; the next pull goes on", async () => {
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 1_000_000 });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, reference: `${proxy.address}/os:1`, tlsVerify: false };
      let atWork = false;
      const interruptWhen = ({ bytes }: BytesProgress) => {
        atWork ||= processesWith(store.path).some((text) => text.startsWith(source));
        return bytes > 1_000_000;
      };
      const session = await pullOnce({ ...pull, interruptWhen });

      assert.ok(atWork);
      assert.equal(session.error?.code, "interrupted");
      assert.deepEqual([session.mounts, session.temporary], [[], []]);
      assert.deepEqual(processesWith(store.path), []);
      assert.deepEqual(mountPointsBelow("/run/bootc"), []);
      assert.deepEqual(mountPointsBelow(store.path), []);
      assert.ok(session.durationMs < 9000, `${session.durationMs} ms`);

      delete proxy.faults.bytesPerSecond;
      assert.equal((await pullOnce(pull)).error, undefined);
    });

    test("by killing Onehold ends it too", async () => {
      await using proxy = await makeRegistryProxy(registry, { bytesPerSecond: 1_000_000 });
      await using programs = await makeProgramsFolder({ release });
      await using store = await makeStoreFolder();
      const pull = { programs, store, source, reference: `${proxy.address}/os:1`, tlsVerify: false };
      await pullOnce({ ...pull, interruptWhen: ({ bytes }) => bytes > 1_000_000, interruptWith: "SIGKILL" });
      // The kernel kills it at once; its end takes a moment.
      for (let waited = 0; waited < 20 && processesWith(store.path).length > 0; waited += 1) await sleep(100);
      assert.deepEqual(processesWith(store.path), []);
      assert.deepEqual(mountPointsBelow(store.path), []);

      delete proxy.faults.bytesPerSecond;
      const next = await pullOnce(pull);
      assert.deepEqual([next.error, next.temporary], [undefined, []]);
    });
  });
}
