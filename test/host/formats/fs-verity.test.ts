import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runModern } from "#fixtures/modern-chroot.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { verityDigest } from "#formats/fs-verity.ts";

/** Around every size at which a tree of hashes changes its form, as composefs-rs's own test has them; and some more. */
function interestingSizes(): number[] {
  const signs = [-1, 0, 1];
  const sizes = [32, 64].flatMap((a) =>
    signs.flatMap((l3) =>
      signs.flatMap((l2) => signs.flatMap((l1) => signs.map((l0) => l3 * a ** 3 + l2 * a ** 2 + l1 * a + l0))),
    ),
  );
  const blocks = [1, 64, 65, 128, 129, 64 * 64, 64 * 64 + 1].flatMap((count) =>
    signs.map((sign) => count * 4096 + sign),
  );
  return [...new Set([...sizes, ...blocks].filter((size) => size >= 0))];
}

test("fsverity computes the same digests", { timeout: 120_000 }, async () => {
  await using folder = await makeTemporaryFolder("fs-verity");
  const content = randomBytes(Math.max(...interestingSizes()));
  const files = interestingSizes().map((size) => ({ size, path: join(folder.path, `${size}`) }));
  for (const { size, path } of files) writeFileSync(path, content.subarray(0, size));
  for (const algorithm of ["sha256", "sha512"] as const) {
    const lines = await runModern(["fsverity", "digest", `--hash-alg=${algorithm}`, ...files.map(({ path }) => path)]);
    const ours = files.map(
      ({ size, path }) => `${algorithm}:${verityDigest(algorithm, content.subarray(0, size)).toString("hex")} ${path}`,
    );
    assert.deepEqual(lines.trim().split("\n"), ours);
  }
});
