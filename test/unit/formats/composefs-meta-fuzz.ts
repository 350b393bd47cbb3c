import assert from "node:assert/strict";
import { OneholdError } from "#base/errors.ts";
import { parseMeta } from "#formats/composefs-meta.ts";
import { Mutator } from "./mutations.ts";

/** As `cfsctl init` writes it. */
export const initial = `{
  "version": 1,
  "algorithm": "fsverity-sha512-12",
  "features": {
    "compatible": [],
    "read-only-compatible": [
      "v1_erofs"
    ],
    "incompatible": []
  },
  "erofs_formats": {
    "default": 1
  }
}
`;

/** Parses so many damaged ones: each is refused with a typed error, or has a meaning that we know. */
export function fuzzMeta(count: number, seed: number): { read: number; refused: number } {
  const mutator = new Mutator(seed);
  const outcome = { read: 0, refused: 0 };
  for (let i = 0; i < count; i++) {
    try {
      const meta = parseMeta(mutator.mutate(Buffer.from(initial)));
      assert.ok(["sha256", "sha512"].includes(meta.algorithm) && [0, 1, 2].includes(meta.format));
      outcome.read++;
    } catch (error) {
      const known = error instanceof OneholdError && (error.code === "corrupt" || error.code === "unsupported");
      assert.ok(known, `input ${i} of seed ${seed}: ${String(error)}`);
      outcome.refused++;
    }
  }
  return outcome;
}
