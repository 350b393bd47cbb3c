import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { byteStringOfText } from "#base/bytes.ts";
import { parseDump } from "#formats/composefs-dump-parser.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import { backingFilesOf } from "#formats/erofs-objects.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { writeErofs } from "#formats/erofs-writer.ts";

const digest = "5a".repeat(32);
const dump = `/ 0 40755 4 0 0 0 7.0 - - -
/d 0 40755 2 0 0 0 8.0 - - -
/d/w 0 20644 1 0 0 0 8.0 - - -
/e 0 40755 2 0 0 0 8.0 - - -
/f 5 100644 2 0 0 0 8.0 - hello -
/g 0 @120000 - - - - 0.0 /f - -
/s 6 120777 1 0 0 0 8.0 target - -
/x 70 100644 1 0 0 0 8.0 5a/${digest.slice(2)} - ${digest} user.a=same
/y 0 100644 1 0 0 0 8.0 - - - user.a=same user.b=other
`;

/** An image of the tree above, whose parts can be found by name, to damage it. */
class Image {
  readonly bytes: Buffer;
  readonly #nids = new Map<string, number>();
  readonly #entries = new Map<string, number>();

  constructor(format: 0 | 1 | 2) {
    this.bytes = writeErofs(parseDump(Buffer.from(dump)), { format });
    this.#find(1152, "");
  }

  /** Where the inode of a path is. */
  inode(path: string): number {
    return (this.#nids.get(path) ?? assert.fail(path)) * 32;
  }

  /** Where the directory entry of a path is. */
  entry(path: string): number {
    return this.#entries.get(path) ?? assert.fail(path);
  }

  /** Where the xattrs of a path's inode begin. */
  xattrs(path: string): number {
    const at = this.inode(path);
    return at + ((this.bytes[at] ?? 0) & 1 ? 64 : 32);
  }

  /** Where what stands behind an inode and its xattrs begins. */
  tail(path: string): number {
    const at = this.inode(path);
    const words = this.bytes.readUInt16LE(at + 2);
    return this.xattrs(path) + (words === 0 ? 0 : 12 + (words - 1) * 4);
  }

  #find(at: number, path: string): void {
    this.#nids.set(path === "" ? "/" : path, at / 32);
    const size = this.bytes.readUInt32LE(at + 8);
    const isInline = this.bytes.readUInt16LE(at) >> 1 === 2;
    const start = isInline ? this.tail(path === "" ? "/" : path) : this.bytes.readUInt32LE(at + 16) * 4096;
    const names = this.bytes.readUInt16LE(start + 8);
    for (let entry = start; entry < start + names; entry += 12) {
      const isLast = entry + 12 === start + names;
      const end = isLast ? start + size : start + this.bytes.readUInt16LE(entry + 20);
      const text = this.bytes.toString("latin1", start + this.bytes.readUInt16LE(entry + 8), end);
      const name = text.replace(/\0.*/s, "");
      const below = `${path}/${name}`;
      this.#entries.set(below, entry);
      if (name === "." || name === "..") continue;
      const nid = this.bytes.readUInt32LE(entry);
      this.#nids.set(below, nid);
      if (this.bytes[entry + 10] === 2) this.#find(nid * 32, below);
    }
  }
}

const formats = [0, 1, 2] as const;

test("the images that are damaged below are good ones", () => {
  for (const format of formats) assert.equal(writeDump(readErofs(new Image(format).bytes)).toString(), dump);
});

type Damage = (image: Image) => void;

function refuses(what: string, which: readonly (0 | 1 | 2)[], code: string, damage: Damage): void {
  test(what, () => {
    for (const format of which) {
      const image = new Image(format);
      damage(image);
      assert.throws(() => readErofs(image.bytes), { code }, `format ${format}`);
    }
  });
}

describe("headers", () => {
  const fields: Record<string, readonly [string, number, number]> = {
    "no magic of composefs": ["corrupt", 0, 1],
    "no magic of EROFS": ["corrupt", 1024, 1],
    "another version": ["unsupported", 4, 2],
    "another format": ["unsupported", 12, 3],
    "other blocks": ["unsupported", 1036, 9],
    "blocks of absurd size": ["unsupported", 1036, 44],
    "more superblock slots": ["unsupported", 1037, 1],
    "an unknown compatible feature": ["unsupported", 1032, 0x10],
    "an unknown incompatible feature": ["unsupported", 1104, 0x80],
    "inodes elsewhere": ["unsupported", 1064, 1],
    compression: ["unsupported", 1108, 1],
    "further devices": ["unsupported", 1110, 1],
    "a packed inode": ["unsupported", 1120, 1],
    "a number of blocks that is too large": ["corrupt", 1060, 99],
    "a number of inodes that is too small": ["corrupt", 1040, 3],
    "shared xattrs beyond the end": ["corrupt", 1068, 99],
    "a root beyond the end": ["corrupt", 1038, 200],
    "a root in the headers": ["corrupt", 1038, 32],
  };
  for (const [what, [code, at, value]] of Object.entries(fields)) {
    refuses(what, formats, code, ({ bytes }) => (bytes[at] = value));
  }

  test("sizes that no image has", () => {
    const { bytes } = new Image(1);
    for (const length of [0, 1000, 4096, bytes.length - 1, bytes.length - 4096]) {
      assert.throws(() => readErofs(bytes.subarray(0, length)), { code: "corrupt" }, `${length} bytes`);
    }
  });
});

describe("structure", () => {
  const link =
    (from: string, to: string): Damage =>
    (image) => {
      image.bytes.writeUInt32LE(image.inode(to) / 32, image.entry(from));
    };
  refuses("a directory in itself", formats, "corrupt", link("/d", "/"));
  refuses("a directory with two names", formats, "corrupt", link("/d", "/e"));
  refuses("a file with one name more than it states", formats, "corrupt", link("/y", "/f"));
  refuses("a file at two names that states one", formats, "corrupt", link("/y", "/x"));
  refuses("an entry beyond the end", formats, "corrupt", (image) =>
    image.bytes.writeUInt32LE(0xffffffff, image.entry("/x")),
  );
  refuses("an entry beyond 32 bits", formats, "corrupt", (image) =>
    image.bytes.writeUInt32LE(1, image.entry("/x") + 4),
  );
  refuses("a wrong dot", formats, "corrupt", link("/d/.", "/e"));
  refuses("wrong dots", formats, "corrupt", link("/d/..", "/e"));
  refuses("an entry of another type", formats, "corrupt", (image) => (image.bytes[image.entry("/s") + 10] = 1));
  refuses("an entry of no type", formats, "corrupt", (image) => (image.bytes[image.entry("/s") + 10] = 9));
  refuses("no entries", formats, "corrupt", (image) => image.bytes.writeUInt16LE(0, image.entry("/e/.") + 8));
  refuses("half an entry", formats, "corrupt", (image) => image.bytes.writeUInt16LE(13, image.entry("/e/.") + 8));
  refuses("names that go back", formats, "corrupt", (image) => image.bytes.writeUInt16LE(5, image.entry("/d/..") + 8));
  refuses("names that are not in order", formats, "corrupt", (image) => (image.bytes[image.tail("/d") + 39] = 0x21));
  refuses("a slash in a name", formats, "corrupt", (image) => (image.bytes[image.tail("/d") + 39] = 0x2f));
  refuses("a directory with a wrong number of links", formats, "corrupt", (image) => {
    const at = image.inode("/d");
    image.bytes[at + ((image.bytes[at] ?? 0) & 1 ? 44 : 6)] = 3;
  });
  refuses("two directories with one block", [0, 1], "corrupt", (image) => {
    const [root, at] = [image.inode("/"), image.inode("/d")];
    image.bytes.writeUInt16LE((image.bytes.readUInt16LE(at) & 1) | 0, at);
    image.bytes.writeUInt32LE(4096, at + 8);
    image.bytes.writeUInt32LE(image.bytes.readUInt32LE(root + 16), at + 16);
  });
  refuses("data beyond the end", formats, "corrupt", (image) =>
    image.bytes.writeUInt32LE(0x7fffffff, image.inode("/f") + 8),
  );
  refuses("a symlink with a NUL", formats, "corrupt", (image) => (image.bytes[image.tail("/s") + 2] = 0));
  refuses("a directory without data", formats, "corrupt", (image) =>
    image.bytes.writeUInt32LE(0, image.inode("/e") + 8),
  );
  refuses("an unknown layout", formats, "corrupt", (image) => (image.bytes[image.inode("/f")] = 7));
  refuses("a chunk that is in the image", formats, "corrupt", (image) => (image.bytes[image.tail("/x")] = 0));
  refuses("chunks of another size", formats, "corrupt", (image) => (image.bytes[image.inode("/x") + 16] = 5));
});

describe("what overlayfs would act on", () => {
  const xattr = (image: Image, name: string) => image.bytes.indexOf(name, 1152, "latin1");
  refuses("a digest of the wrong algorithm", formats, "corrupt", (image) => {
    image.bytes[xattr(image, "overlay.metacopy") + 16 + 3] = 2;
  });
  refuses("a digest that is none", formats, "corrupt", (image) => {
    image.bytes[xattr(image, "overlay.metacopy") + 16] = 1;
  });
  refuses("a file without a digest", formats, "corrupt", (image) => {
    image.bytes.writeUInt32LE(0, image.xattrs("/x"));
    image.bytes.write("metacopx", xattr(image, "overlay.metacopy") + 8);
  });
  refuses("a redirect out of the folder", formats, "corrupt", (image) => {
    image.bytes.write("/../x/..", xattr(image, "overlay.redirect") + 16);
  });
  refuses("a relative redirect", formats, "corrupt", (image) =>
    image.bytes.write("5", xattr(image, "overlay.redirect") + 16),
  );
  refuses("an xattr that the filter hides", formats, "corrupt", (image) => {
    image.bytes.writeUInt32LE(0xffffffff, image.xattrs("/y"));
  });
  refuses("more shared xattrs than there is room for", formats, "corrupt", (image) => {
    image.bytes[image.xattrs("/y") + 4] = 200;
  });
  refuses("a shared xattr beyond the end", formats, "corrupt", (image) => {
    image.bytes.writeUInt32LE(0xffffffff, image.xattrs("/y") + 12);
  });
  refuses("an xattr that is longer than its place", formats, "corrupt", (image) => {
    image.bytes.writeUInt16LE(0xffff, image.xattrs("/y") + 18);
  });
  refuses("an xattr twice", formats, "corrupt", (image) => {
    image.bytes.write("a", image.xattrs("/y") + 20);
    image.bytes.writeUInt32LE(0, image.xattrs("/y"));
  });
  refuses("a digest of a file whose content is in the image", formats, "corrupt", (image) => {
    const at = image.inode("/x");
    image.bytes[at] = 4 + ((image.bytes[at] ?? 0) & 1);
  });
  const renameStub: Damage = ({ bytes }) => bytes.write("fg", bytes.indexOf("feff", 4096) + 2);
  refuses("a root that shows the folder of objects", [0, 1], "corrupt", (image) => {
    image.bytes[image.inode("/ff") + 16] = 1;
    renameStub(image);
  });
  refuses("a whiteout", [0, 1], "corrupt", renameStub);
});

test("a path that can't be opened is not written", () => {
  const name = byteStringOfText("n".repeat(200));
  let tree = parseDump(Buffer.from("/ 0 40755 2 0 0 0 0.0 - - -\n"));
  for (let depth = 0; depth < 20; depth++) tree = { ...tree, entries: new Map([[name, tree]]) };
  for (const format of formats) assert.doesNotThrow(() => readErofs(writeErofs(tree, { format })));
  for (let depth = 0; depth < 50_000; depth++) tree = { ...tree, entries: new Map([[name, tree]]) };
  for (const format of formats) assert.throws(() => writeErofs(tree, { format }), { code: "unsupported" });
  assert.throws(() => writeDump(tree), { code: "unsupported" });
});

test("a path that can't be opened is not read", () => {
  const name = byteStringOfText("n".repeat(100));
  let tree = parseDump(Buffer.from("/ 0 40755 2 0 0 0 0.0 - - -\n"));
  for (let depth = 0; depth < 40; depth++) tree = { ...tree, entries: new Map([[name, tree]]) };
  const image = writeErofs(tree, { format: 2 });
  assert.doesNotThrow(() => readErofs(image));
  // A directory's last name ends where its data does: each is made three bytes longer.
  for (let at = 1152; at < image.length; at += 32) {
    if (image.readUInt16LE(at) !== 5 || image.readUInt32LE(at + 8) !== 39 + 100) continue;
    image.writeUInt32LE(39 + 103, at + 8);
    image.fill("n", at + 64 + 39 + 100, at + 64 + 39 + 103);
  }
  assert.throws(() => readErofs(image), { code: "corrupt", message: /path of more than 4096 bytes/ });
});

test("names that no file can have are not written", () => {
  const tree = parseDump(Buffer.from("/ 0 40755 2 0 0 0 0.0 - - -\n/f 0 100644 1 0 0 0 0.0 - - -\n"));
  const [file] = tree.entries.values();
  assert.ok(file !== undefined);
  for (const name of ["", ".", "..", "a/b", "a\0b", "n".repeat(256)]) {
    const bad = { ...tree, entries: new Map([[byteStringOfText(name), file]]) };
    for (const format of formats) assert.throws(() => writeErofs(bad, { format }), { code: "unsupported" });
    assert.throws(() => writeDump(bad), { code: "unsupported" });
  }
});

test("the backing files of an image, each once", () => {
  const other = "6b".repeat(64);
  const lines = `${dump}/y2 70 100644 1 0 0 0 8.0 5a/${digest.slice(2)} - ${digest}
/z 80 100644 1 0 0 0 8.0 6b/${other.slice(2)} - ${other}\n`;
  for (const format of formats) {
    const files = backingFilesOf(writeErofs(parseDump(Buffer.from(lines)), { format }));
    assert.deepEqual(
      files.map(({ path, size, digest: found }) => [path, size, found?.toString("hex")]),
      [
        [`5a/${digest.slice(2)}`, 70, digest],
        [`6b/${other.slice(2)}`, 80, other],
      ],
    );
  }
});

describe("writing refuses", () => {
  const refused: Record<string, readonly [string, readonly (0 | 1 | 2)[]]> = {
    "a file of more chunks than there may be": ["/f 9007199254740991 100644 1 0 0 0 0.0 a/b - -", []],
    "content that is too long for format 2": [`/f 600 100644 1 0 0 0 0.0 - ${"c".repeat(600)} -`, [2]],
    "a target that is too long for format 2": [`/l 2000 120777 1 0 0 0 0.0 ${"t".repeat(2000)} - -`, [2]],
    "too many xattrs": [
      `/f 0 100644 1 0 0 0 0.0 - - - ${Array.from({ length: 5 }, (_, i) => `user.${i}=${`${i}`.repeat(60_000)}`).join(" ")}`,
      [0, 1, 2],
    ],
    "a name of an xattr that grows too long": [
      `/f 0 100644 1 0 0 0 0.0 - - - trusted.overlay.${"n".repeat(239)}=v`,
      [],
    ],
    "a whiteout with two names": ["/a 0 20644 2 0 0 0 0.0 - - -\n/b 0 @20644 2 0 0 0 0.0 /a - -", [0, 1, 2]],
  };
  for (const [what, [line, which]] of Object.entries(refused)) {
    test(what, () => {
      const tree = parseDump(Buffer.from(`/ 0 40755 2 0 0 0 0.0 - - -\n${line}\n`), "c");
      for (const format of formats) {
        const write = () => writeErofs(tree, { format });
        if (which.includes(format)) assert.throws(write, { code: "unsupported" }, `format ${format}`);
        else assert.doesNotThrow(write, `format ${format}`);
      }
    });
  }
});
