import assert from "node:assert/strict";
import { test } from "node:test";
import { newSeed } from "./mutations.ts";
import { fuzzSplitstreams } from "./splitstream-fuzz.ts";

test("5,000 damaged streams are refused or read", { timeout: 300_000 }, async (t) => {
  const seed = newSeed();
  t.diagnostic(`seed ${seed}`);
  const { read, refused } = await fuzzSplitstreams(5000, seed);
  assert.ok(read > 250 && refused > 1000, `${read} read, ${refused} refused`);
});
