import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sha256Digest } from "#base/digest.ts";
import { assignBlobs } from "#sources/blob-watch.ts";
import type { AnnouncedBlob } from "#sources/pull-progress.ts";

const blobs: AnnouncedBlob[] = [
  ["a", 1000],
  ["b", 100],
  ["c", 5000],
].map(([digit, size]) => ({ kind: "layer", digest: sha256Digest(String(digit).repeat(64)), size: Number(size) }));
const [a, b, c] = blobs;

function assign(sizes: readonly number[], before: ReadonlyMap<number, AnnouncedBlob> = new Map()) {
  return assignBlobs(
    sizes.map((size, index) => ({ number: index + 1, size })),
    blobs,
    before,
  );
}

describe("which file has which blob", () => {
  test("files that grow get blobs in the manifest's order", () => {
    assert.deepEqual([...assign([10, 20, 30]).values()], [a, b, c]);
  });

  test("a file of a blob's size has it", () => {
    assert.equal(assign([5000]).get(1), c);
    assert.equal(assign([10, 100, 1000]).get(1), c);
  });

  test("a file keeps its blob until it is too large for it", () => {
    const before = assign([10, 20]);
    assert.deepEqual([...assign([50, 90], before).values()], [a, b]);
    assert.equal(assign([50, 110], before).get(2), c);
  });

  test("what fits nothing gets nothing", () => {
    assert.equal(assign([6000]).size, 0);
    assert.equal(assign([10, 20, 30, 40]).get(4), undefined);
  });
});
