import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Digest } from "#base/digest.ts";
import { sumOfPulls, trackPull } from "#sources/pull-progress.ts";

const digest = (digit: string) => sha256Digest(digit.repeat(64));

test("several pulls are one task, whose amounts are the sums, and which ends when all have", () => {
  const pulls = ["1", "2"].map((digit) =>
    trackPull({ id: digit, blobs: [{ kind: "layer", digest: digest(digit), size: 100 }], estimated: false }),
  );
  const sum = () => {
    const { bytes, bytesTotal, steps, stepsTotal, parts } = sumOfPulls(
      "2 images",
      pulls.map((pull) => pull.event()),
    );
    return { bytes, bytesTotal, steps, stepsTotal, parts: parts.length };
  };
  assert.deepEqual(sum(), { bytes: 0, bytesTotal: 200, steps: 0, stepsTotal: 2, parts: 2 });
  pulls[0]?.fetched("1".repeat(12), 60);
  pulls[1]?.completed("2".repeat(12));
  assert.deepEqual(sum(), { bytes: 160, bytesTotal: 200, steps: 1, stepsTotal: 2, parts: 2 });
  for (const pull of pulls) pull.finish();
  assert.deepEqual(sum(), { bytes: 200, bytesTotal: 200, steps: 2, stepsTotal: 2, parts: 2 });
  const unknown = trackPull({ id: "3", blobs: [], estimated: true });
  assert.equal(
    sumOfPulls(
      "3 images",
      [...pulls, unknown].map((pull) => pull.event()),
    ).bytesTotal,
    0,
  );
});
