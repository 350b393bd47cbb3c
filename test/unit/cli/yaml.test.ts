import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { parse } from "yaml";
import { renderYaml } from "#cli/yaml.ts";

/** What YAML 1.1 readers (PyYAML, Go's yaml.v2) and 1.2 readers make of it. */
function readBack(text: string): unknown[] {
  return [parse(text, { version: "1.1" }), parse(text, { version: "1.2" })];
}

describe("reads back as what was written, by YAML 1.1 and 1.2", () => {
  const looksLikeSomethingElse =
    "yes No null true y on 1 1.5 0x1f 1e3 12:30:45 2026-11-22 2026-11-22T10:00:00Z - a: a:b a#b sha256:0123 [a] {a} !a &a *a " +
    "e0 E-1 | > %a @a `a \"a\" 'a' --- ... = << ~ # ? , docker://localhost:5000/os:1 /usr/lib ä 🙂";
  const hasSpaces = ["", " ", "a b", " a", "a ", "- a", "a: b", "# a", "a #b", "? a", "a\nb", "a\n", "\ta"];
  const isNotPrintable = ["\u0000", "\u007f", "\u0085", "\u2028", "\ufeff"];
  const strings = [...looksLikeSomethingElse.split(" "), ...hasSpaces, ...isNotPrintable];
  for (const string of strings) {
    test(JSON.stringify(string), () => {
      for (const value of readBack(renderYaml({ [string]: string, list: [string, [string]] }))) {
        assert.deepEqual(value, { [string]: string, list: [string, [string]] });
      }
    });
  }

  const property = (values: fc.Arbitrary<unknown>, numRuns: number): void =>
    fc.assert(
      fc.property(values, (value) => {
        for (const read of readBack(renderYaml(value))) assert.deepEqual(read, value);
      }),
      { numRuns },
    );

  // By way of JSON, which knows no -0.
  const json = fc.jsonValue({ maxDepth: 5 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);
  test("any JSON value", () =>
    property(
      json.filter((value) => !JSON.stringify(value).includes("__proto__")),
      500,
    ));

  const text = fc.stringMatching(/^[aefnoxyNT019._:+/@ #,"-]{0,6}$/);
  test("text that is nearly something else", () =>
    property(fc.array(fc.dictionary(text, text, { noNullPrototype: true })), 500));
});

test("plain text stays without quotes, as people write it", () => {
  const value = {
    image: "localhost:5000/os:1",
    digest: "sha256:00ff",
    stores: ["image store", "ostree"],
    layers: [
      { id: "a1", bytes: 12 },
      { id: "17", bytes: 0 },
    ],
    pinned: false,
    notes: [],
    ostree: null,
  };
  assert.equal(
    renderYaml(value),
    [
      "image: localhost:5000/os:1",
      "digest: sha256:00ff",
      "stores:",
      "  - image store",
      "  - ostree",
      "layers:",
      "  - id: a1",
      "    bytes: 12",
      '  - id: "17"',
      "    bytes: 0",
      "pinned: false",
      "notes: []",
      "ostree: null",
      "",
    ].join("\n"),
  );
});

test("leaves out what JSON leaves out", () => {
  assert.equal(renderYaml({ a: undefined, b: new Date(0) }), 'b: "1970-01-01T00:00:00.000Z"\n');
  assert.equal(renderYaml(undefined), "null\n");
});
