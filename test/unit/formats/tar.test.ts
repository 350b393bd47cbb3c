import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { byteStringOfText } from "#base/bytes.ts";
import { parseHeaderBlock } from "#formats/tar.ts";
import { device, directory, fifo, file, globalPax, hardlink, sparse, symlink } from "#fixtures/tar-writer.ts";
import { entryOf, membersOf, paxHeader, tarOf, tarWith } from "./tar-members.ts";

describe("one header block", () => {
  test("ustar", () => {
    const entry = entryOf(tarOf([file("a/b", "hello", { mode: 0o4755, uid: 1, gid: 2, mtime: 1700000000 })], "ustar"));
    assert.deepEqual(entry, {
      name: "a/b",
      type: "file",
      mode: 0o4755,
      uid: 1,
      gid: 2,
      size: 5,
      mtime: { seconds: 1700000000, nanoseconds: 0 },
      linkName: "",
      devMajor: 0,
      devMinor: 0,
      xattrs: [],
      sparse: false,
    });
  });

  test("every type", () => {
    const entries = membersOf(
      tarOf([
        directory("d"),
        file("d/f", "x"),
        hardlink("d/h", "d/f"),
        symlink("d/s", "../x"),
        device("d/c", "char", [5, 1]),
        device("d/b", "block", [259, 1048575]),
        fifo("d/p"),
        { name: "d/7", flag: "7" },
      ]),
    ).map(({ entry }) => [entry.name, entry.type, entry.linkName, entry.devMajor, entry.devMinor]);
    assert.deepEqual(entries, [
      ["d/", "directory", "", 0, 0],
      ["d/f", "file", "", 0, 0],
      ["d/h", "hardlink", "d/f", 0, 0],
      ["d/s", "symlink", "../x", 0, 0],
      ["d/c", "char", "", 5, 1],
      ["d/b", "block", "", 259, 1048575],
      ["d/p", "fifo", "", 0, 0],
      ["d/7", "other", "", 0, 0],
    ]);
  });

  test("the prefix field belongs to ustar", () => {
    const name = `${"p".repeat(120)}/${"n".repeat(90)}`;
    assert.equal(entryOf(tarOf([file(name)], "ustar")).name, name);
    const prefix = (block: Buffer) => block.write("prefix", 345, "latin1");
    assert.equal(entryOf(tarWith(file("n"), prefix)).name, "prefix/n");
    const v7 = (block: Buffer) => {
      prefix(block);
      block.fill(0, 257, 265);
    };
    assert.equal(entryOf(tarWith(file("n"), v7)).name, "n");
    const star = (block: Buffer) => {
      block.fill("p", 345, 345 + 155);
      block.write("tar\0", 508, "latin1");
    };
    assert.equal(entryOf(tarWith(file("n"), star)).name, `${"p".repeat(131)}/n`);
  });

  test("GNU headers have times there, unless an old Go wrote them", () => {
    const times = (block: Buffer) => block.write("14371573012\u000014371573012\0", 345, "latin1");
    assert.equal(entryOf(tarWith(file("n"), times, "gnu")).name, "n");
    const prefix = (block: Buffer) => block.write("prefix", 345, "latin1");
    assert.equal(entryOf(tarWith(file("n"), prefix, "gnu")).name, "prefix/n");
    const notAscii = (block: Buffer) => block.write("pr\xe4fix", 345, "latin1");
    assert.equal(entryOf(tarWith(file("n"), notAscii, "gnu")).name, "n");
  });

  test("V7: a trailing slash makes a directory, type 0 does not", () => {
    const old = (name: string) => entryOf(tarWith(file(name), (block) => block.fill(0, 156, 157))).type;
    assert.equal(old("d/"), "directory");
    assert.equal(old("f"), "file");
    assert.equal(entryOf(tarOf([file("f/")])).type, "file");
  });

  test("names and links that fill their fields", () => {
    const entry = entryOf(tarOf([symlink("n".repeat(100), "l".repeat(100))], "ustar"));
    assert.equal(entry.name, "n".repeat(100));
    assert.equal(entry.linkName, "l".repeat(100));
  });

  test("names are bytes", () => {
    assert.equal(entryOf(tarOf([file(Buffer.from("a\xff\xfe", "latin1"))])).name, "a\xff\xfe");
  });

  const number = (field: string | Buffer) => {
    const change = (block: Buffer) => Buffer.concat([Buffer.from(field), Buffer.alloc(12)], 12).copy(block, 136);
    return entryOf(tarWith(file("n"), change)).mtime.seconds;
  };

  test("numbers", () => {
    assert.equal(number("00000000644\0"), 0o644);
    assert.equal(number("644"), 0o644);
    assert.equal(number("   644 \0"), 0o644);
    assert.equal(number("\0\0 644"), 0o644);
    assert.equal(number("644\0zzz"), 0o644);
    assert.equal(number("777777777777"), 0o777777777777);
    assert.equal(number(""), 0);
    assert.equal(number("    "), 0);
    for (const bad of ["8", "64x4", "-1", "+1", "0x10", "6 4"])
      assert.throws(() => number(bad), { code: "corrupt" }, bad);
  });

  test("numbers in base 256", () => {
    const hex = (text: string) => number(Buffer.from(text, "hex"));
    assert.equal(hex("800000000000000000000007"), 7);
    assert.equal(hex("80000000000000ffffffffff"), 0xff_ffff_ffff);
    assert.equal(hex("80000000001fffffffffffff"), Number.MAX_SAFE_INTEGER);
    assert.equal(hex("ffffffffffffffffffffffff"), -1);
    assert.equal(hex("ffffffffffffffffffffff00"), -256);
    assert.throws(() => hex("800000000020000000000000"), { code: "corrupt" });
    assert.throws(() => hex("bfffffffffffffffffffffff"), { code: "corrupt" });
    assert.throws(() => hex("c00000000000000000000000"), { code: "corrupt" });
  });

  test("a checksum of signed bytes, as some old programs wrote", () => {
    const tar = tarOf([file(Buffer.from("a\xff", "latin1"))], "ustar");
    const sum = Number.parseInt(tar.toString("latin1", 148, 154), 8);
    tar.write(`${(sum - 256).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    assert.equal(entryOf(tar).name, "a\xff");
    tar.write(`${(sum - 255).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    assert.throws(() => entryOf(tar), { code: "corrupt" });
  });

  test("owners that Linux can't have", () => {
    assert.equal(entryOf(tarOf([file("f", "", { uid: 4294967295, gid: 4294967294 })], "gnu")).uid, 4294967295);
    assert.throws(() => entryOf(tarOf([file("f", "", { uid: 4294967296 })], "gnu")), { code: "corrupt" });
    assert.throws(() => entryOf(tarOf([file("f", "", { pax: { gid: "-1" } })])), { code: "corrupt" });
  });

  test("any changed byte breaks the checksum", () => {
    const block = tarOf([file("name", "content", { mode: 0o755, uid: 5 })]).subarray(0, 512);
    fc.assert(
      fc.property(fc.nat({ max: 511 }), fc.integer({ min: 1, max: 255 }), (position, change) => {
        fc.pre(position < 148 || position > 155);
        const changed = Buffer.from(block);
        changed[position] = (changed[position] ?? 0) ^ change;
        assert.throws(() => parseHeaderBlock(changed), { code: "corrupt" });
      }),
    );
  });
});

describe("extended headers", () => {
  test("PAX records override the block", () => {
    const pax = {
      path: "über/n",
      linkpath: "l".repeat(200),
      uid: "4000000000",
      gid: "70000",
      mtime: "1700000000.123456789",
      uname: "nobody",
      comment: "c",
    };
    const entry = entryOf(tarOf([symlink("short", "x", { uid: 1, pax })]));
    assert.equal(entry.name, byteStringOfText("über/n"));
    assert.equal(entry.linkName, "l".repeat(200));
    assert.deepEqual([entry.uid, entry.gid], [4000000000, 70000]);
    assert.deepEqual(entry.mtime, { seconds: 1700000000, nanoseconds: 123456789 });
  });

  test("a PAX size is the size", () => {
    const sizeless = (block: Buffer) => block.write("00000000000\0", 124, "latin1");
    const body = { raw: tarWith(file("f", "12345"), sizeless, "pax").subarray(0, 1024) };
    const [first, second] = membersOf(tarOf([paxHeader({ size: "5" }), body, file("next", "x")]));
    assert.deepEqual([first?.entry.size, first?.content.toString()], [5, "12345"]);
    assert.equal(second?.entry.name, "next");
  });

  test("an empty record changes nothing", () => {
    const entry = entryOf(tarOf([file("n", "x", { uid: 3, pax: { path: "", uid: "", size: "" } })]));
    assert.deepEqual([entry.name, entry.uid, entry.size], ["n", 3, 1]);
  });

  test("records hold for one member", () => {
    const [first, second] = membersOf(tarOf([file("a", "", { pax: { uid: "7" } }), file("b")]));
    assert.deepEqual([first?.entry.uid, second?.entry.uid], [7, 0]);
  });

  test("the second of two PAX headers replaces the first", () => {
    const [first] = membersOf(tarOf([paxHeader({ uid: "7", gid: "8" }), paxHeader({ uid: "9" }), file("b")]));
    assert.deepEqual([first?.entry.uid, first?.entry.gid], [9, 0]);
  });

  test("times: fractions of any length, before 1970", () => {
    const time = (mtime: string) => entryOf(tarOf([file("f", "", { pax: { mtime } })])).mtime;
    assert.deepEqual(time("5"), { seconds: 5, nanoseconds: 0 });
    assert.deepEqual(time("5."), { seconds: 5, nanoseconds: 0 });
    assert.deepEqual(time("5.03"), { seconds: 5, nanoseconds: 30_000_000 });
    assert.deepEqual(time("5.0000000019"), { seconds: 5, nanoseconds: 1 });
    assert.deepEqual(time("-1.25"), { seconds: -2, nanoseconds: 750_000_000 });
    assert.deepEqual(time("-0.5"), { seconds: -1, nanoseconds: 500_000_000 });
    for (const bad of ["x", "1.x", ".5", "1e3", "1.2.3", "1 "])
      assert.throws(() => time(bad), { code: "corrupt" }, bad);
  });

  test("xattrs: any bytes, sorted, empty ones kept", () => {
    const value = Buffer.from("\0=\n\xff", "latin1");
    const xattrs = {
      "user.z": value,
      "security.selinux": "system_u:object_r:bin_t:s0\0",
      "user.a=b": "",
      "user.empty": "",
    };
    // A key ends at the first `=`: what follows is the value.
    const entry = entryOf(tarOf([file("f", "", { xattrs })]));
    assert.deepEqual(entry.xattrs, [
      { name: "security.selinux", value: Buffer.from("system_u:object_r:bin_t:s0\0") },
      { name: "user.a", value: Buffer.from("b=") },
      { name: "user.empty", value: Buffer.alloc(0) },
      { name: "user.z", value },
    ]);
  });

  test("files with the same xattrs share them", () => {
    const [a, b, c, plain, plain2] = membersOf(
      tarOf([
        file("a", "", { xattrs: { "user.k": "v" } }),
        file("b", "", { xattrs: { "user.k": "v" } }),
        file("c", "", { xattrs: { "user.k": "w" } }),
        file("d"),
        file("e"),
      ]),
    );
    assert.equal(a?.entry.xattrs, b?.entry.xattrs);
    assert.notDeepEqual(a?.entry.xattrs, c?.entry.xattrs);
    assert.equal(plain?.entry.xattrs, plain2?.entry.xattrs);
    assert.equal(a?.entry.xattrs[0]?.value.buffer.byteLength, 1, "no pool is kept alive");
  });

  test("GNU long names override PAX", () => {
    const long = { name: "././@LongLink", flag: "L", content: `${"n".repeat(300)}\0` };
    const [member] = membersOf(tarOf([long, file("n", "", { pax: { path: "p" } })]));
    assert.equal(member?.entry.name, "n".repeat(300));
    const link = symlink("n".repeat(300), "l".repeat(400));
    assert.deepEqual(
      [entryOf(tarOf([link], "gnu")).name, entryOf(tarOf([link], "gnu")).linkName],
      ["n".repeat(300), "l".repeat(400)],
    );
  });

  test("a global header is no member and changes nothing", () => {
    const entries = membersOf(tarOf([globalPax({ uid: "5", comment: "c" }), file("a"), file("b")])).map(({ entry }) => [
      entry.name,
      entry.uid,
    ]);
    assert.deepEqual(entries, [
      ["a", 0],
      ["b", 0],
    ]);
  });

  test("a sparse file has its real name and size", () => {
    const [first, next] = membersOf(
      tarOf([sparse("s", 1 << 20, [{ offset: 4096, bytes: Buffer.from("data") }]), file("next")]),
    );
    assert.deepEqual([first?.entry.name, first?.entry.size, first?.entry.sparse], ["s", 1 << 20, true]);
    assert.equal(first?.content.length, 512 + 4);
    assert.deepEqual([next?.entry.name, next?.entry.sparse], ["next", false]);
  });

  test("sparse files of older forms", () => {
    const old = {
      "GNU.sparse.size": "10",
      "GNU.sparse.numblocks": "1",
      "GNU.sparse.offset": "0",
      "GNU.sparse.numbytes": "5",
    };
    const entry = entryOf(tarOf([file("f", "12345", { pax: old })]));
    assert.deepEqual([entry.name, entry.size, entry.sparse], ["f", 10, true]);
    const { "GNU.sparse.offset": _, "GNU.sparse.numbytes": __, ...rest } = old;
    const newer = { ...rest, "GNU.sparse.map": "0,5", "GNU.sparse.name": "g" };
    assert.deepEqual([entryOf(tarOf([file("f", "12345", { pax: newer })])).name], ["g"]);
    const unknown = { "GNU.sparse.major": "2", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10" };
    assert.deepEqual([entryOf(tarOf([file("f", "12345", { pax: unknown })])).sparse], [false]);
  });
});
