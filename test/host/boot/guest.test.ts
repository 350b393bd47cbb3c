import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { noGuests, runGuest } from "#fixtures/guest.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

function commandLines(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1");
      } catch {
        return "";
      }
    });
}

test("a guest that does not end is ended, and said to be so", { skip: noGuests }, async () => {
  await using folder = await makeTemporaryFolder("no-guest");
  const system = join(folder.path, "no-system.img");
  writeFileSync(system, Buffer.alloc(1024 * 1024));
  const failure = runGuest({ system, timeoutSeconds: 1 });
  await assert.rejects(failure, /the guest did not end within 1 s/);
  assert.deepEqual(
    commandLines().filter((line) => line.includes(system)),
    [],
  );
});

test("a guest without a program fails, with the words of its console", { skip: noGuests }, async () => {
  await using folder = await makeTemporaryFolder("no-guest");
  const system = join(folder.path, "no-system.img");
  writeFileSync(system, Buffer.alloc(1024 * 1024));
  await assert.rejects(runGuest({ system }), /the guest failed: exit status 127[^]*can't execute '\/guest'/);
});
