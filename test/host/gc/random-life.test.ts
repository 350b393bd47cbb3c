import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { liveRandomly, randomNumbers } from "./random-life.ts";
import { makeSmallImages } from "./small-images.ts";

const seed = Number(process.env["SEED"] ?? Date.now() % 1e9);

test(`10 hosts of 15 random steps, from SEED=${seed}`, { timeout: 600_000 }, async (t) => {
  t.diagnostic(`SEED=${seed}`);
  await withFileSystem("xfs", { sizeMiB: 600 }, async (folder) => {
    const images = makeSmallImages(folder);
    for (let host = 0; host < 10; host += 1) {
      await t.test(`host ${host}`, async () => {
        mkdirSync(join(folder, `host-${host}`));
        await liveRandomly(join(folder, `host-${host}`), images, 15, randomNumbers(seed + host));
      });
    }
  });
});
