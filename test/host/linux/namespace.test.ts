import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { endOf, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, mountPointsBelow } from "#fixtures/temporary-folders.ts";
import { inPrivateMountNamespace } from "#linux/namespace.ts";

const module = (name: string) => JSON.stringify(new URL(`../../../src/linux/${name}`, import.meta.url).href);

const script = `
  import { readdirSync, writeFileSync, writeSync, readlinkSync } from "node:fs";
  import { inPrivateMountNamespace, reexecInMountNamespace } from ${module("namespace.ts")};
  import { mountTmpfs } from ${module("mounts.ts")};
  writeSync(5, "started " + process.pid + " " + inPrivateMountNamespace() + "\\n");
  reexecInMountNamespace([5]);
  const [target = "", ...rest] = process.argv.slice(2);
  mountTmpfs(target);
  writeFileSync(target + "/inside", "");
  writeSync(5, JSON.stringify([process.pid, inPrivateMountNamespace(), readdirSync(target), rest, process.title]));
  console.log(readlinkSync("/proc/self/ns/mnt"));
  console.error("to stderr");
  process.exit(7);
`;

test("a program goes on in a mount namespace of its own, as the same process", async () => {
  await using folder = await makeTemporaryFolder("namespace");
  const [program, target, printed] = ["program.ts", "target", "printed"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(program, script);
  mkdirSync(target);
  const fd5 = openSync(printed, "w");
  const child = spawn(process.execPath, ["--title=kept", program, target, "a b", "", "--", "-x"], {
    stdio: ["ignore", "pipe", "pipe", "ignore", "ignore", fd5],
  });
  const output = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk) => (output.stdout += String(chunk)));
  child.stderr?.on("data", (chunk) => (output.stderr += String(chunk)));
  const { status } = await endOf(child);
  closeSync(fd5);
  assert.equal(status, 7, output.stderr);
  const [first, second, last = ""] = readFileSync(printed, "utf8").split("\n");
  assert.deepEqual([first, second], [`started ${child.pid} false`, `started ${child.pid} true`]);
  assert.deepEqual(JSON.parse(last), [child.pid, true, ["inside"], ["a b", "", "--", "-x"], "kept"]);
  assert.match(output.stdout, /^mnt:\[\d+\]\n$/);
  assert.equal(output.stderr, "to stderr\n");
  assert.deepEqual(readdirSync(target), []);
  assert.deepEqual(mountPointsBelow(target), []);
});

test("mounts made outside come in", async () => {
  await using folder = await makeTemporaryFolder("namespace");
  const [program, target] = [join(folder.path, "program.ts"), join(folder.path, "target")];
  mkdirSync(target);
  writeFileSync(
    program,
    `import { spawnSync } from "node:child_process";
     import { readdirSync } from "node:fs";
     import { reexecInMountNamespace } from ${module("namespace.ts")};
     reexecInMountNamespace();
     const [target = "", outside = ""] = process.argv.slice(2);
     // In the namespace of the test: a tmpfs with a folder in it.
     const made = spawnSync("nsenter", ["--mount=" + outside, "sh", "-c", 'mount -t tmpfs none "$0" && mkdir "$0/from-outside"', target]);
     console.log(String(made.stderr), readdirSync(target).join());`,
  );
  // Propagation needs a mount that is shared: the folder, made one.
  for (const args of [
    ["--bind", folder.path, folder.path],
    ["--make-shared", folder.path],
  ]) {
    assert.equal((await tryProgram("mount", args)).status, 0);
  }
  const ended = await tryProgram(process.execPath, [program, target, `/proc/${process.pid}/ns/mnt`]);
  assert.equal(ended.stdout.trim(), "from-outside", ended.stderr);
});

test("this test itself is in no namespace of ours", () => {
  assert.equal(inPrivateMountNamespace(), false);
});
