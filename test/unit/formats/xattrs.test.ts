import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import type { ByteString } from "#base/bytes.ts";
import { canonicalXattrs, parseXattrs, serializeXattrs, type Xattr } from "#formats/xattrs.ts";
import { hex, xattr } from "./ostree-vectors.ts";

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1") as ByteString;
const names = fc.uint8Array({ min: 1, minLength: 1, maxLength: 300 }).map(latin1);
const values = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const sets: fc.Arbitrary<Xattr[]> = fc.uniqueArray(
  fc.tuple(names, values).map(([name, value]) => ({ name, value })),
  { selector: ({ name }) => name, maxLength: 8 },
);

describe("ostree's form", () => {
  test("sorted by bytes, without empty values", () => {
    const canonical = canonicalXattrs([
      xattr("user.b", "2"),
      xattr("user.empty", ""),
      xattr("user.\xff", "3"),
      xattr("user.B", "1"),
    ]);
    assert.deepEqual(
      canonical.map(({ name }) => name),
      ["user.B", "user.b", "user.\xff"],
    );
  });

  test("of sets without any it is one and the same list", () => {
    assert.equal(canonicalXattrs([]), canonicalXattrs([]));
    assert.equal(parseXattrs(Buffer.alloc(0)), canonicalXattrs([]));
  });

  test("does not change the list that it is given", () => {
    const given = Object.freeze([xattr("user.b", "2"), xattr("user.a", "1")]);
    canonicalXattrs(given);
    assert.deepEqual(given, [xattr("user.b", "2"), xattr("user.a", "1")]);
  });

  test("a name twice, or none at all", () => {
    assert.throws(() => canonicalXattrs([xattr("user.a", "1"), xattr("user.a", "2")]), { code: "corrupt" });
    assert.throws(() => canonicalXattrs([xattr("", "1")]), { code: "corrupt" });
    assert.throws(() => canonicalXattrs([xattr("user.a\0", "1")]), { code: "corrupt" });
  });
});

test("the published set", () => {
  const bytes = hex(`73656375726974792e73656c696e757800 73797374656d5f753a6f626a6563745f723a62696e5f743a733000 11
    757365722e6b00 76 07 2d 36`);
  const set = [xattr("security.selinux", "system_u:object_r:bin_t:s0\0"), xattr("user.k", "v")];
  assert.deepEqual(serializeXattrs(set), bytes);
  assert.deepEqual(parseXattrs(bytes), set);
});

test("what is written reads back", () => {
  fc.assert(
    fc.property(sets, (set) => {
      const canonical = canonicalXattrs(set);
      assert.deepEqual(parseXattrs(serializeXattrs(canonical)), canonical);
    }),
  );
});

test("values of all sizes around the limits of the offsets", () => {
  for (const size of [
    0, 1, 240, 245, 246, 247, 248, 249, 250, 65_520, 65_524, 65_525, 65_526, 65_527, 65_528, 65_529, 65_530,
  ]) {
    const set = [xattr("user.k", Buffer.alloc(size, 1))];
    const bytes = serializeXattrs(set);
    const inElement = 7 + size + 1 <= 255 ? 1 : 7 + size + 2 <= 65_535 ? 2 : 4;
    const element = 7 + size + inElement;
    const inArray = element + 1 <= 255 ? 1 : element + 2 <= 65_535 ? 2 : 4;
    assert.equal(bytes.length, element + inArray, `${size} bytes`);
    assert.deepEqual(parseXattrs(bytes), set);
  }
});

test("the values do not keep the buffer alive that they were read from", () => {
  const [first] = parseXattrs(serializeXattrs([xattr("user.k", "v")]));
  assert.equal(first?.value.buffer.byteLength, 1);
});

test("any bytes are read, or refused as corrupt", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40, max: 40 }), (bytes) => {
      try {
        assert.deepEqual(serializeXattrs(parseXattrs(Buffer.from(bytes))), Buffer.from(bytes));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "corrupt");
      }
    }),
    { numRuns: 2000 },
  );
});

test("a set that is not sorted is refused", () => {
  assert.throws(() => parseXattrs(serializeXattrs([xattr("user.b", "1"), xattr("user.a", "2")])), /not sorted/);
  assert.throws(() => parseXattrs(serializeXattrs([xattr("user.a", "1"), xattr("user.a", "2")])), /twice/);
});
