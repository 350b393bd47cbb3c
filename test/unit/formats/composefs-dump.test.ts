import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { byteString, byteStringOfText } from "#base/bytes.ts";
import { DumpParser, parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import type { ComposefsCompat, ComposefsDirectory, ComposefsInode } from "#formats/composefs-tree.ts";
import { randomTree } from "#fixtures/composefs-trees.ts";

const root = "/ 0 40755 2 0 0 0 0.0 - - -\n";
const digest = "5a".repeat(32);
const backing = `5a/${"5a".repeat(31)}`;

function parse(lines: string, dialect?: ComposefsCompat): ComposefsDirectory {
  return parseDump(Buffer.from(root + lines, "latin1"), dialect);
}

function only(lines: string, dialect?: ComposefsCompat): ComposefsInode {
  const [inode] = parse(lines, dialect).entries.values();
  assert.ok(inode !== undefined);
  return inode;
}

/** What the writer makes of a tree, but for the line of the root. */
function written(lines: string, dialect?: ComposefsCompat): string {
  return writeDump(parse(lines, dialect)).toString("latin1").slice(root.length);
}

describe("escapes, as composefs-rs tests them", () => {
  const fields = {
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\x1f": "\\x1f",
    " ": "\\x20",
    "\x7f": "\\x7f",
    "\xff": "\\xff",
    "a=b": "a=b",
    "-": "\\x2d",
    "a-b": "a-b",
    "!~": "!~",
    "--": "--",
  };
  for (const [plain, escaped] of Object.entries(fields)) {
    test(`of ${JSON.stringify(plain)} in a field`, () => {
      const line = `/l ${plain.length} 120777 1 0 0 0 0.0 ${escaped} - -\n`;
      const inode = only(line);
      assert.equal(inode.kind === "symlink" && inode.target, plain);
      assert.equal(written(line), line);
    });
  }

  test("of a NUL in content", () => {
    const line = "/f 3 100644 1 0 0 0 0.0 - a\\x00b -\n";
    const inode = only(line);
    assert.deepEqual(inode.kind === "inline" && inode.content, Buffer.from("a\0b"));
    assert.equal(written(line), line);
  });

  test("of xattrs, whose values may be empty, a dash, or hold a NUL", () => {
    const line = "/f 0 100644 1 0 0 0 0.0 - - - user.a= user.b=- user.c\\x3dd=a\\x3db user.e=x\\x00\n";
    assert.deepEqual(
      only(line).metadata.xattrs.map(({ name, value }) => [name, value.toString("latin1")]),
      [
        ["user.a", ""],
        ["user.b", "-"],
        ["user.c=d", "a=b"],
        ["user.e", "x\0"],
      ],
    );
    assert.equal(written(line), line);
  });

  test("of what needs none", () =>
    assert.deepEqual([...parse("/\\x66oo 0 100644 1 0 0 0 0.0 - - -\n").entries.keys()], ["foo"]));
});

describe("reading", () => {
  test("lines however they arrive, the last one without a newline", () => {
    const dump = writeDump(randomTree({ seed: 7 }));
    for (const size of [1, 7, 1000]) {
      const parser = new DumpParser();
      const chunk = Buffer.alloc(size);
      for (let at = 0; at < dump.length - 1; at += size) {
        parser.push(chunk.subarray(0, dump.copy(chunk, 0, at, Math.min(at + size, dump.length - 1))));
      }
      assert.ok(writeDump(parser.end()).equals(dump));
    }
  });

  test("the size of directories is passed over, xattrs are written in order", () => {
    const lines = "/d 99999 40755 2 0 0 0 1.5 - - - user.z=1 security.ima=2 trusted.a=3\n";
    assert.equal(written(lines), "/d 0 40755 2 0 0 0 1.5 - - - security.ima=2 trusted.a=3 user.z=1\n");
    assert.deepEqual(only(lines).metadata.mtime, { seconds: 1, nanoseconds: 5 });
  });

  test("a hardlink is one more name of the same leaf, its other fields are passed over", () => {
    const file = `/f 70 100644 2 0 0 0 0.0 ${backing} - ${digest}\n`;
    const tree = parse(
      `${file}/g 259 @100644 3 1000 1000 0 1695368732.385062094 /f - ${digest} security.selinux=foo\n`,
    );
    const [first, second] = tree.entries.values();
    assert.equal(first, second);
    const bare = `${file}/g 0 @120000 - - - - 0.0 /f - -\n`;
    assert.equal(writeDump(tree).toString().slice(root.length), bare);
    assert.equal(written(bare), bare);
    assert.equal(
      writeDump(tree, "c").toString(),
      `/ 4096 40755 2 0 0 0 0.0 - - -\n${file}/g 70 @100644 2 0 0 0 0.0 /f - ${digest}\n`,
    );
  });

  test("files with a digest of either length, without one, and without a path", () => {
    const long = "ab".repeat(64);
    const lines = `/a 70 100644 1 0 0 0 0.0 ab/${"ab".repeat(63)} - ${long}
/b 70 100644 1 0 0 0 0.0 some/path - -
/c 70 100644 1 0 0 0 0.0 - - -
/d 0 100644 1 0 0 0 0.0 - - -\n`;
    assert.equal(written(lines), lines);
  });
});

const file = (path: string) => `${path} 0 100644 1 0 0 0 0.0 - - -\n`;
const xattrsOf = (text: string) => `/f 0 100644 1 0 0 0 0.0 - - - ${text}\n`;
const names257 = Array.from({ length: 257 }, (_, index) => `${index}`.padStart(255, "n"));

/** Directories in each other, with names of 200 bytes. */
function deepPaths(depth: number): string {
  const paths = Array.from({ length: depth }, (_, above) => `/${"n".repeat(200)}`.repeat(above + 1));
  return paths.map((path) => `${path} 0 40755 2 0 0 0 0.0 - - -\n`).join("");
}

describe("refused by all readers", () => {
  const refused: Record<string, string> = {
    "a relative path": file("foo"),
    "a relative path with dots": file("../blah"),
    "no path": file(""),
    "an empty component": file("//"),
    "an empty component at the front": file("///foo"),
    "a dot": file("/."),
    "two dots": file("/.."),
    "a slash at the end": "/foo/ 0 40755 2 0 0 0 0.0 - - -\n",
    "dots below a directory": `/foo 0 40755 2 0 0 0 0.0 - - -\n${file("/foo/..")}`,
    "dots on the way": `/foo 0 40755 2 0 0 0 0.0 - - -\n${file("/foo/../blah")}`,
    "a NUL in a path": file("/a\\x00b"),
    "a raw NUL in a path": file("/a\0b"),
    "a path that is too long": deepPaths(21),
    "a name that is too long": file(`/${"n".repeat(256)}`),
    "a directory that does not come before": file("/foo/bar"),
    "a path below a file": file("/a") + file("/a/b"),
    "a path twice": file("/a") + file("/a"),
    "a second root": root,
    "an empty line": "\n",
    "a digest of a directory": `/d 0 40755 2 0 0 0 0.0 - - ${digest}\n`,
    "content of a FIFO": "/f 3 10644 1 0 0 0 0.0 - abc -\n",
    "a device number of a file": "/f 0 100644 1 0 0 5 0.0 - - -\n",
    "a device number of a directory": "/f 0 40644 1 0 0 5 0.0 - - -\n",
    "no kind of file": "/f 0 644 1 0 0 0 0.0 - - -\n",
    "a mode that is too large": "/f 0 1100644 1 0 0 0 0.0 - - -\n",
    "a mode that is not octal": "/f 0 100684 1 0 0 0 0.0 - - -\n",
    "a symlink without a target": "/l 0 120777 1 0 0 0 0.0 - - -\n",
    "a target that is too long": `/l 0 120777 1 0 0 0 0.0 ${"t".repeat(4096)} - -\n`,
    "content that is too long": `/f 5004 100644 1 0 0 0 0.0 - ${"c".repeat(5004)} -\n`,
    "content of another size": "/f 5 100644 1 0 0 0 0.0 - abc -\n",
    "content and a backing path": "/f 3 100644 1 0 0 0 0.0 a/b abc -\n",
    "a digest that is cut off": `/f 70 100644 1 0 0 0 0.0 ${backing} - ${digest.slice(2)}\n`,
    "a digest that is not hex": `/f 70 100644 1 0 0 0 0.0 ${backing} - ${"x".repeat(64)}\n`,
    "a backing path out of the folder": `/f 70 100644 1 0 0 0 0.0 ../x - ${digest}\n`,
    "nanoseconds of a second": "/f 0 100644 1 0 0 0 0.1000000000 - - -\n",
    "a time without a dot": "/f 0 100644 1 0 0 0 5 - - -\n",
    "a uid that is too large": "/f 0 100644 1 4294967296 0 0 0.0 - - -\n",
    "a negative uid": "/f 0 100644 1 -1 0 0 0.0 - - -\n",
    "a size beyond 2^53": `/f 9007199254740993 100644 1 0 0 0 0.0 ${backing} - ${digest}\n`,
    "an xattr without a value": xattrsOf("user.a"),
    "an xattr without a name": xattrsOf("=somevalue"),
    "a NUL in an xattr's name": xattrsOf("user.a\\x00b=c"),
    "a name of an xattr that is too long": xattrsOf(`${"n".repeat(256)}=v`),
    "a value of an xattr that is too long": xattrsOf(`user.a=${"v".repeat(65_536)}`),
    "too many names of xattrs": xattrsOf([...names257, "n".repeat(255)].map((name) => `${name}=`).join(" ")),
    "two spaces": xattrsOf(" user.a=b"),
    "an unknown escape": file("/a\\q"),
    "a hex escape that is cut off": file("/a\\x4"),
    "a backslash at the end": file("/a\\"),
    "a hardlink of nothing": "/h 0 @100644 1 0 0 0 0.0 /f - -\n",
    "a hardlink without a target": "/h 0 @100644 1 0 0 0 0.0 - - -\n",
    "a hardlink of a directory": "/d 0 40755 2 0 0 0 0.0 - - -\n/h 0 @100644 1 0 0 0 0.0 /d - -\n",
    "a hardlink of the root": "/h 0 @40755 1 0 0 0 0.0 / - -\n",
    "a hardlink of itself": "/h 0 @100644 1 0 0 0 0.0 /h - -\n",
    "no number": "/f x 100644 1 0 0 0 0.0 - - -\n",
    "too few fields": "/f 0 100644\n",
  };
  for (const [what, lines] of Object.entries(refused)) {
    test(what, () => {
      for (const dialect of ["rust", "c"] as const)
        assert.throws(() => parse(lines, dialect), { code: "corrupt" }, dialect);
    });
  }

  test("a dump file without a root, or with a file for one", () => {
    for (const dump of ["", file("/a"), "/ 0 100644 1 0 0 0 0.0 - - -\n", file("/a") + root]) {
      assert.throws(() => parseDump(Buffer.from(dump)), { code: "corrupt" });
    }
  });

  test("a line without an end", () => {
    const parser = new DumpParser();
    const chunk = Buffer.alloc(1 << 20, "x");
    assert.throws(() => [1, 2, 3].map(() => parser.push(chunk)), { code: "corrupt", message: /longer than/ });
  });

  test("257 names of 255 bytes are no too many", () => {
    assert.equal(only(xattrsOf(names257.map((name) => `${name}=x`).join(" "))).metadata.xattrs.length, 257);
  });

  test("the error names the line", () => assert.throws(() => parse(file("/a") + file("/a")), /line 3 of a dump file/));
});

describe("what mkcomposefs takes and composefs-rs does not", () => {
  const taken: Record<string, readonly [string, string]> = {
    "a hardlink before its target": [
      `/a 0 @100644 2 0 0 0 0.0 /b - -\n/b 0 100644 2 0 0 0 0.0 - - -\n`,
      `/a 0 100644 2 0 0 0 0.0 - - -\n/b 0 @120000 - - - - 0.0 /a - -\n`,
    ],
    "a hardlink of a hardlink before both": [
      `/a 0 @100644 2 0 0 0 0.0 /b - -\n/b 0 @100644 2 0 0 0 0.0 /c - -\n${file("/c")}`,
      `/a 0 100644 3 0 0 0 0.0 - - -\n/b 0 @120000 - - - - 0.0 /a - -\n/c 0 @120000 - - - - 0.0 /a - -\n`,
    ],
    "a second link to a whiteout": [
      "/b 0 20644 1 0 0 0 0.0 - - -\n/c 0 @20644 2 0 0 0 0.0 /b - -\n",
      "/b 0 20644 2 0 0 0 0.0 - - -\n/c 0 @120000 - - - - 0.0 /b - -\n",
    ],
    "a whiteout that states two links": ["/b 0 20644 2 0 0 0 0.0 - - -\n", "/b 0 20644 1 0 0 0 0.0 - - -\n"],
    "a time before 1970": ["/f 0 100644 1 0 0 0 -5.3 - - -\n", "/f 0 100644 1 0 0 0 -5.3 - - -\n"],
    "an xattr twice": [xattrsOf("user.a=1 user.a=2"), xattrsOf("user.a=2")],
    "fields left out at the end": ["/f 0 100644 1 0 0 0 0.0\n", file("/f")],
    "much content": [
      `/f 4000 100644 1 0 0 0 0.0 - ${"c".repeat(4000)} -\n`,
      `/f 4000 100644 1 0 0 0 0.0 - ${"c".repeat(4000)} -\n`,
    ],
  };
  for (const [what, [lines, expected]] of Object.entries(taken)) {
    test(what, () => {
      assert.equal(written(lines, "c"), expected);
      assert.throws(() => parse(lines), { code: "corrupt" });
    });
  }

  test("hardlinks of each other are refused", () => {
    const lines = "/a 0 @100644 1 0 0 0 0.0 /b - -\n/b 0 @100644 1 0 0 0 0.0 /a - -\n";
    assert.throws(() => parse(lines, "c"), { code: "corrupt" });
  });
});

test("names are bytes, not text", () => {
  const name = byteString(Buffer.from([0xc3, 0x28, 0xff]));
  const tree: ComposefsDirectory = { ...parse(""), entries: new Map([[name, only(file("/f"))]]) };
  assert.equal(writeDump(tree).toString().slice(root.length), file("/\\xc3(\\xff"));
  assert.deepEqual([...parse(file("/\xc3(\xff")).entries.keys()], [name]);
  assert.notEqual(name, byteStringOfText("Ã(ÿ"));
});
