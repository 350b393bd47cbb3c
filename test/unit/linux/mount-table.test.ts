import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMountTable } from "#linux/mounts.ts";

test("a line as proc_pid_mountinfo(5) shows it", () => {
  const line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n";
  assert.deepEqual(parseMountTable(Buffer.from(line)), [
    {
      id: 36,
      parentId: 35,
      major: 98,
      minor: 0,
      root: "/mnt1",
      mountPoint: "/mnt2",
      options: ["rw", "noatime"],
      propagation: ["master:1"],
      type: "ext3",
      source: "/dev/root",
      superOptions: ["rw", "errors=continue"],
    },
  ]);
});

test("no optional fields, and several", () => {
  const lines = "1 2 0:1 / /a rw - tmpfs none rw\n3 4 0:1 / /b rw shared:7 master:2 propagate_from:1 - tmpfs none rw\n";
  const [none, three] = parseMountTable(Buffer.from(lines));
  assert.deepEqual(none?.propagation, []);
  assert.deepEqual(three?.propagation, ["shared:7", "master:2", "propagate_from:1"]);
});

test("a dash as a name is not the separator", () => {
  const [entry] = parseMountTable(Buffer.from("1 2 0:1 - - rw shared:1 - tmpfs - rw\n"));
  assert.equal(entry?.root, "-");
  assert.equal(entry?.mountPoint, "-");
  assert.equal(entry?.source, "-");
});

test("octal escapes and UTF-8", () => {
  const [entry] = parseMountTable(
    Buffer.from("1 2 0:1 / /a\\040b\\011c\\012d\\134040\\043é rw - fuse.x s\\040t rw,x=\\054\n"),
  );
  assert.equal(entry?.mountPoint, "/a b\tc\nd\\040#é");
  assert.equal(entry?.source, "s t");
});

test("what is no such line is left out", () => {
  assert.deepEqual(parseMountTable(Buffer.from("\nnonsense\n1 2 0:1 / /a rw tmpfs none rw\n")), []);
});
