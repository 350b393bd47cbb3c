import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { TarEntry } from "#formats/tar.ts";
import { type LayerIndex, parseLayerIndex, serializeLayerIndex } from "#image/layer-index.ts";
import { LayerTreeBuilder } from "#image/layer-tree.ts";
import { type DirectoryNode, type FileNode, filesOf, type SymlinkNode } from "#image/tree.ts";

const bytes = (maxLength: number) =>
  fc.uint8Array({ minLength: 1, maxLength }).map((value) => Buffer.from(value).toString("latin1") as ByteString);
const name = fc
  .constantFrom("a", "b", "c", "deep/er", ".wh.a", ".wh..wh..opq", "d/../é")
  .map((text) => text as ByteString);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/") as ByteString);
const entry: fc.Arbitrary<TarEntry> = fc.record({
  name: path,
  type: fc.constantFrom("file", "directory", "symlink", "hardlink", "char", "fifo"),
  mode: fc.constantFrom(0o644, 0o4755, 0o1777),
  uid: fc.constantFrom(0, 1000, 0xffff_fffe),
  gid: fc.constantFrom(0, 5),
  size: fc.constantFrom(0, 5, 300, 2 ** 31, 2 ** 53 - 1),
  mtime: fc.record(
    { seconds: fc.constantFrom(-5, 0, 1_700_000_000), nanoseconds: fc.constantFrom(0, 999_999_999) },
    { noNullPrototype: true },
  ),
  linkName: fc.oneof(path, bytes(300)),
  devMajor: fc.constantFrom(0, 8),
  devMinor: fc.constantFrom(0, 300_000),
  xattrs: fc.constantFrom([], [{ name: "user.x" as ByteString, value: Buffer.from([0, 255]) }]),
  sparse: fc.constant(false),
});

/** What entries can be unpacked; the builder's own tests tell about the others. */
function treeOf(entries: readonly TarEntry[]): DirectoryNode {
  const builder = new LayerTreeBuilder(3);
  for (const one of entries) {
    try {
      builder.add(one);
    } catch (error) {
      assert.ok(error instanceof OneholdError);
    }
  }
  return builder.finish((folder) => ({ uid: 0, gid: 0, mode: 0o040700 + folder.length, xattrs: [] }));
}

function named(tree: DirectoryNode): Map<FileNode | SymlinkNode, string> {
  const names = new Map<FileNode | SymlinkNode, string>();
  for (const [i, node] of [...filesOf(tree)].entries()) if (i % 3 !== 2) names.set(node, hash("sha256", `${i}`));
  return names;
}

function serialized(index: LayerIndex): Buffer {
  const pieces: Buffer[] = [];
  serializeLayerIndex(index, (piece) => void pieces.push(Buffer.from(piece)));
  return Buffer.concat(pieces);
}

test("a layer's tree and its objects come back as they were", () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
      const tree = treeOf(entries);
      const of = named(tree);
      const read = parseLayerIndex(
        serialized({ tree, names: [{ store: "some store", length: 32, of: (node) => of.get(node) }] }),
        3,
      );
      assert.deepEqual(read.tree, tree);
      assert.deepEqual(read.names, [{ store: "some store", length: 32, of }]);
      // Hardlinks are one node still.
      assert.equal([...filesOf(read.tree)].length, [...filesOf(tree)].length);
    }),
    { numRuns: 300 },
  );
});

test("a damaged index is refused, whatever is damaged", () => {
  const seed = Array.from({ length: 50 }, (_, i) => `f${i}`).map(
    (text): TarEntry => ({
      name: `d/${text}` as ByteString,
      type: "file",
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: 1,
      mtime: { seconds: 1, nanoseconds: 0 },
      linkName: "" as ByteString,
      devMajor: 0,
      devMinor: 0,
      xattrs: [],
      sparse: false,
    }),
  );
  const tree = treeOf(seed);
  const of = named(tree);
  const whole = serialized({ tree, names: [{ store: "s", length: 32, of: (node) => of.get(node) }] });
  const content = whole.subarray(0, -32);
  fc.assert(
    fc.property(fc.nat(content.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, change, summed) => {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ change;
      // With a right sum too, so that the reader itself meets the damage: an error or a tree, never anything else.
      if (summed) hash("sha256", damaged.subarray(0, -32), "buffer").copy(damaged, content.length);
      try {
        parseLayerIndex(damaged, 0);
        assert.ok(summed);
      } catch (error) {
        assert.ok(error instanceof OneholdError && error.code === "corrupt", String(error));
      }
    }),
    { numRuns: 5000 },
  );
  for (const end of [0, 10, 40, whole.length - 1])
    assert.throws(() => parseLayerIndex(whole.subarray(0, end), 0), { code: "corrupt" });
});
