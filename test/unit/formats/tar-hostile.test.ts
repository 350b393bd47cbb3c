import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { directory, file, globalPax, hardlink } from "#fixtures/tar-writer.ts";
import { fixChecksum, membersOf, tarOf, tarWith } from "./tar-members.ts";

const raw = (content: string | Buffer, flag = "x") => tarOf([{ name: "h", flag, content }, file("f")]);
const records = {
  "no length": "path=a\n",
  "a length of zero": "0 a=b\n",
  "a length that is no number": "x a=b\n",
  "a negative length": "-8 a=b\n",
  "a length beyond the header": "99 a=b\n",
  "a length before the newline": "5 a=b\n",
  "no newline": "6 a=bc",
  "no equals sign": "7 abcd\n",
  "no key": "5 =b\n",
  "a NUL in a path": "10 path=\0\n",
  "a NUL in a key": "8 a\0b=c\n",
  "a size that is no number": "9 size=x\n",
  "a size beyond 2^53": "29 size=18446744073709551616\n",
  "a negative size": "10 size=-1\n",
};
for (const [what, content] of Object.entries(records)) {
  test(`a PAX record with ${what}`, () => assert.throws(() => membersOf(raw(content)), { code: "corrupt" }));
}

test("a well-formed one for comparison", () => assert.equal(membersOf(raw("7 uid=7\n".replace("7 ", "8 "))).length, 1));

for (const flag of ["x", "g", "L", "K"]) {
  test(`an extended header of type ${flag} beyond 1 MiB`, () => {
    const huge = tarWith({ name: "h", flag }, (block) => block.write("77777777777\0", 124, "latin1")).subarray(0, 512);
    assert.throws(() => membersOf(huge), /extended header .* limit/);
    const record = globalPax({ comment: "c".repeat(1 << 20) });
    const tar = flag === "g" ? tarOf([record, file("f")]) : raw(Buffer.alloc((1 << 20) + 1, "n"), flag);
    assert.throws(() => membersOf(tar), /extended header .* limit/);
  });
}

test("negative sizes", () => {
  const negative = tarWith(file("f"), (block) => block.fill(0xff, 124, 136));
  assert.throws(() => membersOf(negative), { code: "corrupt" });
});

test("GNU tar's old sparse files", () => {
  assert.throws(() => membersOf(tarOf([{ name: "s", flag: "S" }], "gnu")), { code: "unsupported" });
});

test("a sparse directory", () => {
  const pax = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0" };
  assert.throws(() => membersOf(tarOf([directory("d", { pax })])), { code: "corrupt" });
});

test("headers after a block of zeros", () => {
  assert.throws(() => membersOf(tarOf([{ raw: Buffer.alloc(512) }, file("f")])), { code: "corrupt" });
});

test("a tar that ends in the middle of a header, or before the header that an extended one is for", () => {
  const tar = tarOf([file("n".repeat(200))]);
  for (const length of [100, 511, 512, 600, 1024, 1100]) {
    assert.throws(() => membersOf(tar.subarray(0, length)), { code: "corrupt" }, `${length} bytes`);
  }
  assert.equal(membersOf(tar.subarray(0, 1536)).length, 1);
  assert.equal(membersOf(tar.subarray(0, 2048)).length, 1, "one block of zeros and the end");
  assert.equal(membersOf(Buffer.concat([tar, Buffer.from("junk")])).length, 1, "whatever follows the end");
});

test("any bytes are read, or refused as corrupt or not supported", () => {
  const tar = tarOf([
    file("n".repeat(200), "content", { xattrs: { "user.k": "v" }, mtime: "5.5" }),
    hardlink("h", "n"),
  ]);
  fc.assert(
    fc.property(
      fc.nat({ max: tar.length - 1 }),
      fc.uint8Array({ minLength: 1, maxLength: 20 }),
      fc.boolean(),
      (position, bytes, fix) => {
        const changed = Buffer.from(tar);
        changed.set(bytes.subarray(0, tar.length - position), position);
        const block = changed.subarray(position - (position % 512), position - (position % 512) + 512);
        if (fix) fixChecksum(block);
        try {
          membersOf(changed);
        } catch (error) {
          const { code, message } = error as { code?: string; message: string };
          assert.ok(code === "corrupt" || code === "unsupported" || message.includes("content"), String(error));
        }
      },
    ),
    { numRuns: 3000 },
  );
});
