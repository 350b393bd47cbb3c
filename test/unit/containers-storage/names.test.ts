import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { byteString, byteStringOfText } from "#base/bytes.ts";
import { baseName, entryPath, parentPath } from "#stores/containers-storage/entry-path.ts";
import { bigDataName } from "#stores/containers-storage/layout.ts";

describe("the path of a tar member", () => {
  const cases: readonly [string, string][] = [
    ["a/b", "a/b"],
    ["./a/b/", "a/b"],
    ["/a//b", "a/b"],
    ["a/./b/../c", "a/c"],
    ["/../a", "a"],
    ["./", ""],
    ["a/..", ""],
    ["..a/...", "..a/..."],
  ];
  for (const [name, path] of cases) {
    test(`${name} is "${path}"`, () => assert.equal(entryPath(byteStringOfText(name)), byteStringOfText(path)));
  }

  test("keeps bytes that are not UTF-8", () => {
    const name = byteString(Buffer.from([0x2e, 0x2f, 0xff, 0x2f, 0xe9]));
    assert.equal(entryPath(name), byteString(Buffer.from([0xff, 0x2f, 0xe9])));
  });

  for (const name of ["..", "../a", "a/../../b", "./..", "a\0b"]) {
    test(`${JSON.stringify(name)} is refused`, () =>
      assert.throws(() => entryPath(byteStringOfText(name)), { code: "corrupt" }));
  }

  test("has a last part, and the others", () => {
    const path = byteStringOfText("a/b/c");
    assert.deepEqual([parentPath(path), baseName(path)], ["a/b", "c"]);
    assert.deepEqual([parentPath(byteStringOfText("a")), baseName(byteStringOfText("a"))], ["", "a"]);
  });
});

test("the file of big data has the key as its name, or in base64", () => {
  // As a store of podman's has them.
  assert.equal(bigDataName("manifest"), "manifest");
  assert.equal(bigDataName("zstd-chunked-manifest"), "=enN0ZC1jaHVua2VkLW1hbmlmZXN0");
  assert.equal(bigDataName("zstd-chunked-layer-data"), "=enN0ZC1jaHVua2VkLWxheWVyLWRhdGE=");
});
