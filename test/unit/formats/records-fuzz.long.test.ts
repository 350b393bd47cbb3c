import assert from "node:assert/strict";
import { test } from "node:test";
import { newSeed } from "./mutations.ts";
import { fuzzGvariants, fuzzTarSplit } from "./records-fuzz.ts";

for (const [what, fuzz] of Object.entries({ "tar-split files": fuzzTarSplit, GVariants: fuzzGvariants })) {
  test(`100,000 damaged ${what} are refused or read, within 512 MB`, { timeout: 1_800_000 }, (t) => {
    const seed = newSeed();
    t.diagnostic(`seed ${seed}`);
    const { read, refused } = fuzz(100_000, seed);
    assert.ok(read > 1000 && refused > 10_000, `${read} read, ${refused} refused`);
  });
}
