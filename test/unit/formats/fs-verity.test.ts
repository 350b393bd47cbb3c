import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { VerityDigester, verityDigest } from "#formats/fs-verity.ts";

const algorithms: readonly VerityAlgorithm[] = ["sha256", "sha512"];

/** From the tests of composefs and composefs-rs; what they do not have, from `fsverity digest`. */
const published: readonly [VerityAlgorithm, string, Buffer, string][] = [
  ["sha256", "hello world", text("hello world"), "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64"],
  [
    "sha256",
    "hello world\\n",
    text("hello world\n"),
    "37061ef2ac4c21bec68489b56138c5780306a4ad7fe6676236ecdf2c9027cd92",
  ],
  [
    "sha256",
    "foo bar baz\\n",
    text("foo bar baz\n"),
    "91e7d88cb7bc9cf6d8db3b0ecf89af4abf204bef5b3ade5113d5b62ef374e70b",
  ],
  ["sha256", "nothing", text(""), "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"],
  ["sha256", "4095 zeros", Buffer.alloc(4095), "5372beb83c78537c8970c8361e3254119fafdf1763854ecd57d3f0fe2da7c719"],
  ["sha256", "4096 zeros", Buffer.alloc(4096), "babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e"],
  ["sha256", "4097 zeros", Buffer.alloc(4097), "093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743"],
  [
    "sha512",
    "hello world",
    text("hello world"),
    "18430270729d162d4e469daca123ae61893db4b0583d8f7081e3bf4f92b88ba514e7982f10733fb6aa895195c5ae8fd2eb2c47a8be05513ce5a0c51a6f570409",
  ],
  [
    "sha512",
    "nothing",
    text(""),
    "ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce374474e13d10adb9dadcc6ca8e17a3c075fbd31336e8f266ae6fa93a6c3bed66f9e784e5abf",
  ],
];

for (const [algorithm, what, content, digest] of published) {
  test(`${algorithm} of ${what}`, () => assert.equal(verityDigest(algorithm, content).toString("hex"), digest));
}

/** Bytes of 0x5a, with their digests by `fsverity digest`: around the sizes at which the tree gets a level more. */
const filled: readonly [number, string, string][] = [
  [
    1,
    "ed1ca3d522e4b885a33e9cfc3803b4aab52c718d99b449eef0caeb3170ff641d",
    "32c74dc7b1ee07c8788ffda7f82293082584ac4ae2e4404806f50134684cb8a0448d9ab21454e4777feadbfea5ba1b9108578a91f0c28dde91c0f56832374c25",
  ],
  [
    4095,
    "f280bcee6bf2827867a251a580c89ac5c9b3311f250ef04edb6079416bff7f43",
    "2ba21ae3a046d96ba9bac529e77178763d837e9aa20e8aa1ec996e8e70e86cf1e4111dd49386ada420b75d181352198baae7dcb54640dc6a0ccd251dfa0d61a4",
  ],
  [
    4096,
    "dae733f4cb5a63767cb1041a2bd774ca90c91dfd490554e5edab17886d474600",
    "17060cff50b93c9fd092ec791ae719fe1e158a3464ad201092affc037fde252aadfbf44eceac836e76317536ea96684ab5a89562d41067583dc2090095f46034",
  ],
  [
    4097,
    "d2619d9db529bfcc1b0179d7f22a3275ef40456580ebd246fb1c0faa70cc1f6c",
    "fc1aa4d2aeb1f623ac4c200411eb8529a913f8591af998a357a6462746d9ac163601f975dc0b9b78bf0790f7d3af548e355dccc1b31562b21e1a7f8ee8829ae3",
  ],
  [
    262144,
    "bdf787e83ed0b89451f849d4dc23747fe59117afef81e6b18cc1011805cdd2d7",
    "35bcd8b3de7d2ecccf5fb2cc8ead107edbd53238f419e0f7e05b38fc50500ed22946528c5a9f20658e12f89d89b9d38a3096f29f67a2e8bbfccfa92d06be7c28",
  ],
  [
    262145,
    "db90d7fe2fb0876a440d8bad9483f26ca3a68203e733b0877a7ee91674d19515",
    "ba55b464501c641d2af19858190dc31fd26a5c80da4fdde083aecf096d01e82275eb8c085c0bfc61bbededa0a2badc91daf716d770a36d4406cd68789f3a9129",
  ],
  [
    524287,
    "c8c4666df98e7d97c03778ba5001a5faedc62409e1b9008defab2e1c3da15e61",
    "f5837bcc7901169a8bdb89bdf12970e11ffd4908b0ec403509083d6c82e51f9ca9119b6fbf61347cba764cf8460f17565bbd52717cae5b55459f1617b9460275",
  ],
  [
    524288,
    "fa6dd50c6117479a8e0691104fd19c93263b8fc12c56a7c581d36a1fe2990845",
    "8f0cc42dcde59bbb14d7b0aa07c9d1c9d80610686f44eec56562f8b075f3ea836c2391b1b1073fee2ee16bbdcc1eea16f7b12139e743325edbfd6efd0aa19c07",
  ],
  [
    524289,
    "44a3ceba1c1a2896d0002c3b1e15f332291e8ef3c4760f14531061f17d6dc423",
    "14c1f43801057313ebfd3feef70bf60e0a5a03390101bfdcd043c42f8333020dae5482b864c2b82d05e4b4ababd9f52182a62fb0502b550415c00038ac2f6ee6",
  ],
  [
    67108864,
    "24d6a7b7fc6d84a4cccee30dd408dc3b812fbf82bdfb796962d9d45ccfad6362",
    "f017537d8d742c5dccb8542858287bdc85af02a5ed6614212337ec6e7a6eb1a975a024eafefdbcba49aca46d9df3527ec75697c16395e4f47b345f10ece78603",
  ],
  [
    67108865,
    "9aec93c07b4fc8b10bb13c165536a4e9bc1e633c57d3f630a4b26ceb64d88024",
    "2a12a04c21264479f9642eb4678d64ef205fee0d083bc5ed8056d8c79ddfb993af594b42b1dde4720ac3a18f9b96c368383f4b5cc80d796f0d41156e718f38b6",
  ],
];

for (const [size, sha256, sha512] of filled) {
  test(`${size} bytes, at once and in pieces`, () => {
    const content = Buffer.alloc(size, 0x5a);
    for (const [algorithm, digest] of [
      ["sha256", sha256],
      ["sha512", sha512],
    ] as const) {
      assert.equal(verityDigest(algorithm, content).toString("hex"), digest);
      assert.equal(inPieces(algorithm, content, 1 << 20).toString("hex"), digest);
      assert.equal(inPieces(algorithm, content, 65_537).toString("hex"), digest);
    }
  });
}

test("pieces of any size give what the tree's definition gives", () => {
  const content = Buffer.from(createHash("shake256", { outputLength: 300_000 }).update("content").digest());
  fc.assert(
    fc.property(
      fc.constantFrom(...algorithms),
      fc.oneof(fc.nat({ max: 10_000 }), fc.nat({ max: content.length }), fc.constantFrom(262_144, 262_145, 135_168)),
      fc.array(fc.integer({ min: 0, max: 9000 }), { minLength: 1, maxLength: 5 }),
      (algorithm, size, steps) => {
        const digester = new VerityDigester(algorithm);
        const bytes = content.subarray(0, size);
        // No step but 0 would never end.
        for (let position = 0, i = 0; position < size; i++) {
          const step = (steps[i % steps.length] ?? 0) || 1 + (i % 4096);
          digester.update(bytes.subarray(position, position + step));
          position += step;
        }
        const expected = byDefinition(algorithm, bytes);
        assert.deepEqual(digester.digest(), expected);
        assert.deepEqual(digester.update(bytes).digest(), expected, "it can be used again");
      },
    ),
    { numRuns: 150 },
  );
});

test("more bytes than 32 bits count", { timeout: 120_000 }, () => {
  // Of zeros alone, so that each level has but two different hashes, which this test computes by itself.
  const size = 2 ** 32 + 4096 * 3 + 5;
  const digester = new VerityDigester("sha256");
  const piece = Buffer.alloc(1 << 20);
  for (let left = size; left > 0; left -= piece.length)
    digester.update(piece.subarray(0, Math.min(left, piece.length)));
  assert.deepEqual(digester.digest(), ofZeros(size));
});

function ofZeros(size: number): Buffer {
  const pad = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(4096 - bytes.length)]);
  const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest();
  // `count` blocks that are all `full`, but for the last.
  let count = Math.ceil(size / 4096);
  let full = sha256(Buffer.alloc(4096));
  let last = full;
  while (count > 1) {
    const inLast = count % 128 || 128;
    const hashes = (length: number) => Array.from({ length }, () => full);
    last = sha256(pad(Buffer.concat([...hashes(inLast - 1), last])));
    full = sha256(Buffer.concat(hashes(128)));
    count = Math.ceil(count / 128);
  }
  return sha256(descriptorOf(1, size, last));
}

function descriptorOf(algorithm: number, size: number, root: Buffer): Buffer {
  const descriptor = Buffer.alloc(256);
  descriptor.set([1, algorithm, 12]);
  descriptor.writeBigUInt64LE(BigInt(size), 8);
  root.copy(descriptor, 16);
  return descriptor;
}

/** As the kernel's documentation defines it, level by level, with all of a level in memory. */
function byDefinition(algorithm: VerityAlgorithm, content: Buffer): Buffer {
  const hashOf = (bytes: Buffer) => createHash(algorithm).update(bytes).digest();
  let level = content;
  let root = Buffer.alloc(hashOf(content).length);
  while (level.length > 0) {
    const hashes: Buffer[] = [];
    for (let position = 0; position < level.length; position += 4096) {
      const block = Buffer.alloc(4096);
      level.copy(block, 0, position, position + 4096);
      hashes.push(hashOf(block));
    }
    if (hashes.length === 1) {
      root = Buffer.from(hashes[0] ?? "");
      break;
    }
    level = Buffer.concat(hashes);
  }
  return hashOf(descriptorOf(algorithm === "sha256" ? 1 : 2, content.length, root));
}

function inPieces(algorithm: VerityAlgorithm, content: Buffer, size: number): Buffer {
  const digester = new VerityDigester(algorithm);
  for (let position = 0; position < content.length; position += size) {
    digester.update(content.subarray(position, position + size));
  }
  return digester.digest();
}

function text(content: string): Buffer {
  return Buffer.from(content);
}
