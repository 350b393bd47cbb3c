import assert from "node:assert/strict";
import { test } from "node:test";
import {
  demandShortCommandLine,
  kernelArgumentsOf,
  splitArguments,
  updateArguments,
} from "#boot/kernel-arguments-of-image.ts";

const of = (...texts: string[]) =>
  kernelArgumentsOf(
    texts.map((text, index) => ({ name: `${index}.toml`, text })),
    "x64",
  );

test("files of kargs.d are read in the order of their names, for this processor", () => {
  const files = [
    { name: "20-b.toml", text: 'kargs = ["b=1"]' },
    {
      name: "10-a.toml",
      text: '# first\nkargs = [\n  "a=1",\n  \'a=2 c="x y"\',\n]\nmatch-architectures = ["x86_64", "aarch64"]\n',
    },
    { name: "30-c.toml", text: 'kargs = ["no"]\nmatch-architectures = ["s390x"]' },
    { name: "notes.txt", text: "not TOML [" },
  ];
  assert.deepEqual(kernelArgumentsOf(files, "x64"), ["a=1", "a=2", 'c="x y"', "b=1"]);
  assert.deepEqual(kernelArgumentsOf(files.slice(2), "arm64"), []);
  assert.deepEqual(of("kargs = []"), []);
});

test("what bootc would not read is refused with the file's name", () => {
  for (const text of [
    "",
    "kargs = 'a'",
    "kargs = [1]",
    "kargs = ['a']\nother = 1",
    "kargs = ['a'",
    "match-architectures = ['x86_64']",
    "kargs = ['a']\nmatch-architectures = 'x86_64'",
    `kargs = ${"[".repeat(100_000)}`,
  ]) {
    assert.throws(() => of("kargs = []", text), { code: "corrupt", message: /kargs\.d\/1\.toml can't be used/ });
  }
  assert.throws(() => of('kargs = ["a\\nlinux /x"]'), { code: "usage" });
});

test("arguments that would end the line of a boot entry are refused, and a line that the kernel would cut", () => {
  assert.deepEqual(splitArguments('a="x y"\tb  c='), ['a="x y"', "b", "c="]);
  for (const text of ["a\nb", "a\0", "a\r", "\u007f"]) assert.throws(() => splitArguments(text), { code: "usage" });
  demandShortCommandLine(["a".repeat(1700)]);
  assert.throws(() => demandShortCommandLine(["ä".repeat(900)]), { code: "unsupported", message: /1800 bytes/ });
});

test("an update changes what the image's own files changed, and leaves the rest", () => {
  const current = ["root=UUID=1", "rw", "console=tty0", "old", "both", "mine", "ostree=/ostree/boot.0/x/1/0"];
  const changed = updateArguments(current, { before: ["old", "both", "gone"], after: ["both", "new"] });
  assert.deepEqual(changed, ["root=UUID=1", "rw", "console=tty0", "both", "mine", "new"]);
  const init = "init=/ostree/boot.1/default/abc/0/usr/lib/ostree/ostree-prepare-root";
  assert.deepEqual(updateArguments(["rw", init, "init=/bin/sh"], { before: [], after: [] }), ["rw", "init=/bin/sh"]);
});
