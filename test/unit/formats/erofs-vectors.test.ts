import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { verityDigest } from "./verity.ts";

const rootLine = "/ 0 40755 2 0 0 0 0.0 - - -\n";
const digest = "5a".repeat(32);

/** The dumps of composefs-rs's test of the stability of its images (crates/composefs/tests/mkfs.rs). */
const dumps = {
  empty: rootLine,
  simple: `${rootLine}/blkdev 0 60000 1 0 0 123 0.0 - - -
/chrdev 0 20000 1 0 0 123 0.0 - - -
/fifo 0 10000 1 0 0 0 0.0 - - -
/regular-external 1234 100000 1 0 0 0 0.0 5a/${"5a".repeat(31)} - ${digest}
/regular-inline 4 100000 1 0 0 0 0.0 - hihi -
/socket 0 140000 1 0 0 0 0.0 - - -
/symlink 7 120000 1 0 0 0 0.0 /target - -
`,
} as const;

const pins = {
  empty: [
    [16384, "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682"],
    [16384, "14a26c957c84f6eb774b91205476adc13196c7c33b9dd97d08d43725ecb90b63"],
    [4096, "086b702a519b57d6ef5aea6f8b3f2be24355cd1fb835cd80fb4e3d388b24d5a5"],
  ],
  simple: [
    [16384, "9f3f5620ee0c54708516467d0d58741e7963047c7106b245d94c298259d0fa01"],
    [16384, "ad6db6427568a1e4fdc772cbab7b6063f5eb4b33cb62982a740ba9213e5962b5"],
    [4096, "a8fcd41f8b313bede69f462f2af0a38d64b99a6333f5df884ea9ab4037fac722"],
  ],
} as const;

describe("images as composefs-rs writes them", () => {
  for (const name of ["empty", "simple"] as const) {
    for (const format of [0, 1, 2] as const) {
      test(`${name}, format ${format}`, () => {
        const image = writeErofs(parseDump(Buffer.from(dumps[name])), { format });
        assert.deepEqual([image.length, verityDigest(image)], pins[name][format]);
      });
    }
  }
});
