import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzzMeta } from "./composefs-meta-fuzz.ts";
import { newSeed } from "./mutations.ts";
import { fuzzSplitstreams } from "./splitstream-fuzz.ts";

for (const [what, fuzz] of [
  ["streams", fuzzSplitstreams],
  ["meta.json files", fuzzMeta],
] as const) {
  test(`100,000 damaged ${what} are refused or read, within 512 MB`, { timeout: 1_800_000 }, async (t) => {
    const seed = newSeed();
    t.diagnostic(`seed ${seed}`);
    const { read, refused } = await fuzz(100_000, seed);
    assert.ok(read > 1000 && refused > 10_000, `${read} read, ${refused} refused`);
    assert.ok(process.resourceUsage().maxRSS * 1024 < 512e6, `${process.resourceUsage().maxRSS} KiB`);
  });
}
