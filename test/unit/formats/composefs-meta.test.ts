import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMeta, serializeMeta } from "#formats/composefs-meta.ts";
import { fuzzMeta, initial } from "./composefs-meta-fuzz.ts";
import { newSeed } from "./mutations.ts";

const parse = (document: unknown) => parseMeta(Buffer.from(JSON.stringify(document)));
const algorithm = "fsverity-sha256-12";

test("what is written is what cfsctl init writes", () => {
  assert.equal(serializeMeta({ algorithm: "sha512", format: 1, extraFormats: [] }), initial);
});

test("it is read again as it was, with every algorithm and format", () => {
  for (const each of ["sha256", "sha512"] as const) {
    for (const format of [0, 1, 2] as const) {
      for (const extraFormats of [[], [2], [0, 1]] as const) {
        if (format === 2 && extraFormats.length > 0 && extraFormats[0] === 2) continue;
        const meta = { algorithm: each, format, extraFormats };
        const text = serializeMeta(meta);
        assert.deepEqual(parseMeta(Buffer.from(text)), { ...meta, readOnlyFeatures: [] }, text);
        assert.equal(text.includes("v1_erofs"), format === 1, "the feature is listed for V1 alone");
        assert.equal(text.includes("extra"), extraFormats.length > 0);
      }
    }
  }
});

test("the format of repositories that do not say it, or not with certainty", () => {
  const features = { "read-only-compatible": ["v1_erofs"] };
  assert.equal(parse({ version: 1, algorithm }).format, 2);
  assert.equal(parse({ version: 1, algorithm, features }).format, 1);
  assert.equal(parse({ version: 1, algorithm, features, erofs_formats: { default: 2 } }).format, 1);
  assert.equal(parse({ version: 1, algorithm, erofs_formats: { default: 2 } }).format, 2);
  assert.equal(parse({ version: 1, algorithm, features, erofs_formats: { default: 0 } }).format, 0);
});

test("features and members that are not known", () => {
  const known = { version: 1, algorithm, later: {}, features: { compatible: ["x"], incompatible: [] } };
  assert.deepEqual(parse(known).readOnlyFeatures, []);
  const readOnly = { version: 1, algorithm, features: { "read-only-compatible": ["v1_erofs", "y"] } };
  assert.deepEqual(parse(readOnly).readOnlyFeatures, ["y"]);
  assert.throws(() => parse({ version: 1, algorithm, features: { incompatible: ["z"] } }), { code: "unsupported" });
});

const refused: Readonly<Record<string, [unknown, string]>> = {
  "a later version": [{ version: 2, algorithm }, "unsupported"],
  "a version that is none": [{ version: "1", algorithm }, "corrupt"],
  "no version": [{ algorithm }, "corrupt"],
  "no algorithm": [{ version: 1 }, "corrupt"],
  "other blocks": [{ version: 1, algorithm: "fsverity-sha256-16" }, "unsupported"],
  "another hash": [{ version: 1, algorithm: "fsverity-md5-12" }, "unsupported"],
  "the format 3": [{ version: 1, algorithm, erofs_formats: { default: 3 } }, "corrupt"],
  "no object": [[], "corrupt"],
  null: [null, "corrupt"],
};
for (const [what, [document, code]] of Object.entries(refused)) {
  test(`a meta.json with ${what} is refused`, () => assert.throws(() => parse(document), { code }));
}

test("bytes that are no JSON, or far too many", () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from("{"), Buffer.from([0xff]), Buffer.alloc((1 << 20) + 1, " ")]) {
    assert.throws(() => parseMeta(bytes), { code: "corrupt" });
  }
});

test("5,000 damaged ones are refused or read", (t) => {
  const seed = newSeed();
  t.diagnostic(`seed ${seed}`);
  const outcome = fuzzMeta(5000, seed);
  assert.ok(outcome.read > 50 && outcome.refused > 500, JSON.stringify(outcome));
});
