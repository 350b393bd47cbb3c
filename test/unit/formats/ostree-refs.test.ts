import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { escapeRef, isValidRefName, unescapeRef } from "#formats/ostree-refs.ts";

/** Refs as ostree-ext writes them, from its documentation and its repositories. */
const known = {
  "registry:quay.io/coreos/fedora:latest": "registry_3A_quay_2E_io/coreos/fedora_3A_latest",
  "docker://quay.io/x/y:latest": "docker_3A__2F__2F_quay_2E_io/x/y_3A_latest",
  "localhost:5000/foo:latest": "localhost_3A_5000/foo_3A_latest",
  "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae":
    "sha256_3A_2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
  "foo/bar/baz-blah/foo": "foo/bar/baz-blah/foo",
  a_b: "a__b",
  "/": "_2F_",
  "blah/": "blah_2F_",
  "/foo/": "_2F_foo_2F_",
  "a//b": "a/_2F_b",
  "a-/b": "a-_2F_b",
  "a_/b": "a___2F_b",
  "\u{1f600}\n": "_1F600__0A_",
};

for (const [text, ref] of Object.entries(known)) {
  test(JSON.stringify(text), () => {
    assert.equal(escapeRef(text), ref);
    assert.equal(unescapeRef(ref), text);
  });
}

test("any text comes back, and below a prefix its ref is valid", () => {
  const characters = Array.from("aZ09-_/.:@ \n\u00fc\u{1f600}");
  const texts = fc.string({ unit: fc.constantFrom(...characters), minLength: 1 });
  fc.assert(
    fc.property(fc.oneof(texts, fc.string({ unit: "grapheme", minLength: 1 })), (text) => {
      fc.pre(!text.includes("\0"));
      assert.equal(unescapeRef(escapeRef(text)), text);
      // A leading `-` is the one thing that escaping leaves to libostree to refuse.
      assert.equal(isValidRefName(`blob/${escapeRef(text)}`), !/(?:^|[a-zA-Z0-9]\/)-/.test(text));
    }),
    { numRuns: 1000 },
  );
});

test("what has no ref", () => {
  for (const text of ["", "a\0b", "\ud800"]) assert.throws(() => escapeRef(text), { code: "usage" });
});

test("refs that nobody escaped", () => {
  for (const ref of ["", "a.b", "a_b", "_", "___", "_3A", "_110000_", "_D800_", "_0_", "a:b", "_3A_3A_"]) {
    assert.throws(() => unescapeRef(ref), { code: "corrupt" }, ref);
  }
});

test("names of refs", () => {
  for (const name of ["a", "ostree/1/1/0", "a-b/c.d/e_f", "_2F_", "0", "ü"]) assert.ok(isValidRefName(name), name);
  for (const name of ["", "/a", "a/", "a//b", ".a", "-a", "a/.b", "a/..", "a:b", "a b", "a\n", "a\0"]) {
    assert.ok(!isValidRefName(name), JSON.stringify(name));
  }
});
