import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import {
  checksumOf,
  fileHeader,
  objectPath,
  parseChecksum,
  parseDirmeta,
  serializeDirmeta,
} from "#formats/ostree-objects.ts";
import { hex, published, root, xattr } from "./ostree-vectors.ts";

describe("file headers", () => {
  test("regular file", () => {
    const header = fileHeader({ ...root, mode: 0o100644 });
    assert.deepEqual(header, hex(published.headers.a));
    assert.equal(createHash("sha256").update(header).update("hello\n").digest("hex"), published.checksums.a);
  });

  test("symlink", () => {
    const header = fileHeader({ ...root, mode: 0o120777 }, "a" as ByteString);
    assert.deepEqual(header, hex(published.headers.l));
    assert.equal(checksumOf(header), published.checksums.l);
  });

  test("xattrs, given in the wrong order, one of them empty", () => {
    const xattrs = [
      xattr("user.k", "v"),
      xattr("user.empty", ""),
      xattr("security.selinux", "system_u:object_r:bin_t:s0\0"),
    ];
    const header = fileHeader({ ...root, mode: 0o100755, xattrs });
    assert.deepEqual(header, hex(published.headers.x));
    assert.equal(checksumOf(header), published.checksums.x);
  });

  test("a structured clone of the metadata, as a worker gets it, gives the same bytes", () => {
    const metadata = { ...root, mode: 0o100755, xattrs: [xattr("user.k", "v"), xattr("user.a", "w")] };
    assert.deepEqual(fileHeader(structuredClone(metadata)), fileHeader(metadata));
  });

  test("owners beyond 2^31 stay unsigned", () => {
    const header = fileHeader({ uid: 4294967294, gid: 3000000000, mode: 0o100644, xattrs: [] });
    assert.equal(header.readUInt32BE(8), 4294967294);
    assert.equal(header.readUInt32BE(12), 3000000000);
  });

  test("the offset grows with the header", () => {
    // 16 bytes of fields, the target and its NUL: 254 bytes and one of offset are the most for one byte.
    const short = fileHeader({ ...root, mode: 0o120777 }, "t".repeat(237) as ByteString);
    assert.equal(short.length, 8 + 16 + 238 + 1);
    assert.equal(short.at(-1), 254);
    const long = fileHeader({ ...root, mode: 0o120777 }, "t".repeat(238) as ByteString);
    assert.equal(long.length, 8 + 16 + 239 + 2);
    assert.equal(long.readUInt16LE(long.length - 2), 255);
  });

  test("a mode without or with the wrong type bits is a mistake of ours", () => {
    for (const mode of [0o644, 0o040755, 0o120777])
      assert.throws(() => fileHeader({ ...root, mode }), /is not the mode/);
    for (const mode of [0o120755, 0o100777]) {
      assert.throws(() => fileHeader({ ...root, mode }, "a" as ByteString), /is not the mode/);
    }
  });

  test("a symlink target that is not UTF-8 is refused", () => {
    assert.throws(() => fileHeader({ ...root, mode: 0o120777 }, "\xff" as ByteString), { code: "not-utf8" });
    assert.doesNotThrow(() => fileHeader({ ...root, mode: 0o120777 }, byteStringOfText("\u{1f600}")));
  });
});

describe("dirmetas", () => {
  const vectors: [number, ReturnType<typeof xattr>[], string][] = [
    [0o040755, [], "0000000000000000000041ed"],
    [0o041777, [], "0000000000000000000043ff"],
    [
      0o040755,
      [xattr("trusted.foo", Buffer.of(0, 0xff))],
      "0000000000000000000041ed 747275737465642e666f6f00 00ff 0c 0f",
    ],
  ];
  for (const [mode, xattrs, bytes] of vectors) {
    test(`0${mode.toString(8)} with ${xattrs.length} xattrs`, () => {
      const dirmeta = serializeDirmeta({ ...root, mode, xattrs });
      assert.deepEqual(dirmeta, hex(bytes));
      assert.deepEqual(parseDirmeta(dirmeta), { ...root, mode, xattrs });
    });
  }

  test("the checksum of the commonest one", () => {
    assert.equal(checksumOf(serializeDirmeta({ ...root, mode: 0o040755 })), published.checksums.dirmeta);
  });

  test("owners beyond 2^31", () => {
    const metadata = { uid: 4294967294, gid: 4294967295, mode: 0o040700, xattrs: [] };
    assert.deepEqual(parseDirmeta(serializeDirmeta(metadata)), metadata);
  });

  test("what is no dirmeta is refused", () => {
    const refused = [
      "",
      "00000000 00000000 0000",
      "00000000 00000000 000081a4",
      "00000000 00000000 000141ed",
      `${"00".repeat(8)}000041ed ff`,
    ];
    for (const bytes of refused) assert.throws(() => parseDirmeta(hex(bytes)), { code: "corrupt" }, bytes);
  });
});

test("object paths", () => {
  const checksum = parseChecksum(published.checksums.a);
  assert.equal(objectPath(checksum, "dirtree"), `44/${published.checksums.a.slice(2)}.dirtree`);
});

test("what is not a checksum is refused", () => {
  for (const text of [
    "",
    published.checksums.a.toUpperCase(),
    `${published.checksums.a}0`,
    published.checksums.a.slice(1),
  ]) {
    assert.throws(() => parseChecksum(text), { code: "corrupt" });
  }
});
