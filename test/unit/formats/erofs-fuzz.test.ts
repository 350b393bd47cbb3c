import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzzDumps, fuzzImages } from "./erofs-fuzz.ts";
import { newSeed } from "./mutations.ts";

const seed = newSeed();

for (const [what, fuzz] of Object.entries({ images: fuzzImages, "dump files": fuzzDumps })) {
  test(`5,000 changed ${what} are refused, or read as what they say`, { timeout: 120_000 }, (t) => {
    t.diagnostic(`seed ${seed}`);
    const { accepted, refused } = fuzz(seed, 5000);
    t.diagnostic(`${accepted} accepted, ${refused} refused`);
    assert.ok(accepted > 0 && refused > accepted / 10);
  });
}
