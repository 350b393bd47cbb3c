import assert from "node:assert/strict";
import { test } from "node:test";
import { newSeed } from "./mutations.ts";
import { fuzzGvariants, fuzzTarSplit } from "./records-fuzz.ts";

for (const [what, fuzz] of Object.entries({ "tar-split files": fuzzTarSplit, GVariants: fuzzGvariants })) {
  test(`5,000 damaged ${what} are refused or read`, { timeout: 120_000 }, (t) => {
    const seed = newSeed();
    t.diagnostic(`seed ${seed}`);
    const { read, refused } = fuzz(5000, seed);
    assert.ok(read > 100 && refused > 500, `${read} read, ${refused} refused`);
  });
}
