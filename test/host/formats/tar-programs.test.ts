import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { type ByteString, byteString } from "#base/bytes.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import type { TarEntry } from "#formats/tar.ts";
import { setXattr } from "#linux/xattr.ts";
import { membersOf } from "../../unit/formats/tar-members.ts";

before(() => ensurePackages(["tar"]));

interface Limits {
  /** Bytes of the longest path. */
  readonly path: number;
  readonly owner: number;
  readonly devices: boolean;
  readonly xattrs: boolean;
  /** Digits of a second that the format keeps. */
  readonly fraction: 0 | 9;
}

const formats: Record<string, Limits> = {
  posix: { path: 700, owner: 4_294_967_294, devices: true, xattrs: true, fraction: 9 },
  gnu: { path: 700, owner: 4_294_967_294, devices: true, xattrs: false, fraction: 0 },
  oldgnu: { path: 700, owner: 3_000_000, devices: true, xattrs: false, fraction: 0 },
  ustar: { path: 220, owner: 2_000_000, devices: true, xattrs: false, fraction: 0 },
  v7: { path: 90, owner: 2_000_000, devices: false, xattrs: false, fraction: 0 },
};
const xattrValue = Buffer.from("a\0\n=\xff", "latin1");

/** All that a layer can have, as far as the format can. */
async function makeTree(root: string, limits: Limits): Promise<void> {
  mkdirSync(join(root, "d/sub"), { recursive: true });
  const file = join(root, "d/file");
  writeFileSync(file, "content\n");
  writeFileSync(join(root, "d/empty"), "");
  writeFileSync(join(root, "d/block"), Buffer.alloc(512, "x"));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/d/`), Buffer.of(0xff, 0xe4)]), "not UTF-8");
  writeFileSync(join(root, "d/über"), "UTF-8");
  linkSync(file, join(root, "d/zlink"));
  symlinkSync("../d/file", join(root, "d/symlink"));
  lutimesSync(join(root, "d/symlink"), 1, 1_234_567_890);
  const segments = Array.from({ length: Math.floor(limits.path / 75) }, () => "long".repeat(18));
  const deep = join(root, ...segments);
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, "f"), "long");
  if (limits.path > 250) {
    symlinkSync(join(...segments, "f"), join(root, "longlink"));
    linkSync(join(deep, "f"), join(deep, "g"));
  }
  if (limits.devices) {
    await runProgram("mknod", [join(root, "d/char"), "c", "5", "1"]);
    await runProgram("mknod", [join(root, "d/blockdevice"), "b", "259", "7"]);
    await runProgram("mkfifo", [join(root, "d/fifo")]);
  }
  chownSync(file, limits.owner, 100_000);
  chmodSync(file, 0o4751);
  chmodSync(join(root, "d/sub"), 0o1777);
  if (limits.xattrs) {
    setXattr({ path: file }, "user.k" as ByteString, xattrValue);
    setXattr({ path: join(root, "d/sub") }, "security.label" as ByteString, Buffer.from("l\0"));
  }
}

const typesOfFind = new Map(
  Object.entries({ f: "file", d: "directory", l: "symlink", c: "char", b: "block", p: "fifo" }),
);

interface Described {
  readonly type: string | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly time: string;
  readonly target: string;
}

/** The tree as find(1) sees it. */
async function described(root: string, fraction: Limits["fraction"]): Promise<Map<string, Described>> {
  const format = String.raw`%P\0%y\0%m\0%U\0%G\0%s\0%T@\0%l\0`;
  const output = `${root}.found`;
  await runProgram("sh", ["-c", 'find "$1" -mindepth 1 -printf "$2" > "$3"', "sh", root, format, output]);
  const fields = byteString(readFileSync(output)).split("\0");
  const found = new Map<string, Described>();
  for (let i = 0; i + 8 <= fields.length; i += 8) {
    const [name = "", type = "", mode = "", uid, gid, size, time = "", target = ""] = fields.slice(i, i + 8);
    const [seconds = "", digits = ""] = time.split(".");
    found.set(name, {
      type: typesOfFind.get(type),
      mode: Number.parseInt(mode, 8),
      uid: Number(uid),
      gid: Number(gid),
      size: type === "f" ? Number(size) : 0,
      time: `${seconds}.${digits.slice(0, fraction).padEnd(9, "0")}`,
      target,
    });
  }
  return found;
}

function describedEntry({ type, mode, uid, gid, size, mtime, linkName }: TarEntry): Described {
  return {
    type,
    mode,
    uid,
    gid,
    size,
    time: `${mtime.seconds}.${`${mtime.nanoseconds}`.padStart(9, "0")}`,
    target: linkName,
  };
}

describe("tars of GNU tar", () => {
  for (const [format, limits] of Object.entries(formats)) {
    test(`in the format ${format}`, async () => {
      await using folder = await makeTemporaryFolder("formats-tar");
      const root = join(folder.path, "root");
      await makeTree(root, limits);
      const archive = join(folder.path, "archive");
      const xattrs = limits.xattrs ? ["--xattrs", "--xattrs-include=*"] : [];
      const options = [`--format=${format}`, "--sort=name", `--file=${archive}`, `--directory=${root}`, ...xattrs];
      await runProgram("tar", ["--create", ...options, "--transform=s,^\\./,,", "."]);

      const entries = new Map(
        membersOf(readFileSync(archive)).map(({ entry }) => [entry.name.replace(/\/$/, ""), entry]),
      );
      entries.delete(".");
      const expected = await described(root, limits.fraction);
      assert.deepEqual([...entries.keys()].toSorted(), [...expected.keys()].toSorted());
      for (const [name, entry] of entries) {
        const isHardlink = entry.type === "hardlink";
        const file = expected.get(isHardlink ? entry.linkName : name);
        assert.ok(file !== undefined, `${name} is a hardlink of ${entry.linkName}`);
        const link = { ...file, type: "hardlink", size: 0, target: entry.linkName };
        assert.deepEqual(describedEntry(entry), isHardlink ? link : file, name);
      }
      assert.equal(entries.get("d/zlink")?.type, "hardlink");
      if (limits.devices) {
        assert.deepEqual([entries.get("d/char")?.devMajor, entries.get("d/char")?.devMinor], [5, 1]);
        assert.deepEqual([entries.get("d/blockdevice")?.devMajor, entries.get("d/blockdevice")?.devMinor], [259, 7]);
      }
      const wanted = limits.xattrs
        ? [[{ name: "user.k", value: xattrValue }], [{ name: "security.label", value: Buffer.from("l\0") }]]
        : [[], []];
      assert.deepEqual([entries.get("d/file")?.xattrs, entries.get("d/sub")?.xattrs], wanted);
    });
  }

  for (const version of ["0.0", "0.1", "1.0"]) {
    test(`with a sparse file, form ${version}`, async () => {
      await using folder = await makeTemporaryFolder("formats-sparse");
      writeFileSync(join(folder.path, "s"), "data");
      truncateSync(join(folder.path, "s"), 10 << 20);
      writeFileSync(join(folder.path, "t"), "next");
      const options = ["--format=posix", "--sparse", `--sparse-version=${version}`, `--directory=${folder.path}`];
      await runProgram("tar", ["--create", `--file=${folder.path}/archive`, ...options, "s", "t"]);
      const members = membersOf(readFileSync(join(folder.path, "archive")));
      assert.deepEqual(
        members.map(({ entry }) => [entry.name, entry.size, entry.sparse]),
        [
          ["s", 10 << 20, true],
          ["t", 4, false],
        ],
      );
    });
  }

  test("with a sparse file in its old form are refused", async () => {
    await using folder = await makeTemporaryFolder("formats-sparse");
    writeFileSync(join(folder.path, "s"), "");
    truncateSync(join(folder.path, "s"), 10 << 20);
    const options = ["--format=gnu", "--sparse", `--directory=${folder.path}`];
    await runProgram("tar", ["--create", `--file=${folder.path}/archive`, ...options, "s"]);
    assert.throws(() => membersOf(readFileSync(join(folder.path, "archive"))), { code: "unsupported" });
  });
});
