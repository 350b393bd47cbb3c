import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { transformSync } from "esbuild";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { tooOldNode } from "../../../src/cli/node-version.ts";

const root = join(import.meta.dirname, "../../..");
const launcher = join(root, "bin/onehold");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

describe("bin/onehold", () => {
  test("works from any folder, and through links, on PATH too", async () => {
    await using folder = await makeTemporaryFolder("launcher");
    const link = join(folder.path, "a link");
    const second = join(folder.path, "onehold");
    symlinkSync(launcher, link);
    symlinkSync("a link", second);
    symlinkSync(join(root, "bin"), join(folder.path, "linked bin"));
    const options = { cwd: folder.path, encoding: "utf8" } as const;
    for (const program of [launcher, link, second, join(folder.path, "linked bin/onehold"), "./onehold"]) {
      assert.equal(execFileSync(program, ["--version"], options).trim(), version, program);
    }
    const env = { ...process.env, PATH: `${folder.path}:${process.env["PATH"] ?? ""}` };
    assert.equal(execFileSync("onehold", ["--version"], { ...options, env }).trim(), version);
    assert.equal(execFileSync("sh", ["onehold", "--version"], { ...options, env }).trim(), version);
  });

  test("works in a folder with spaces, passes arguments and the exit status as they are", async () => {
    await using folder = await makeTemporaryFolder("launcher");
    const installed = join(folder.path, "one hold");
    mkdirSync(join(installed, "bin"), { recursive: true });
    mkdirSync(join(installed, "dist"));
    copyFileSync(launcher, join(installed, "bin/onehold"));
    const script = "console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 3;";
    writeFileSync(join(installed, "dist/onehold.mjs"), script);
    const args = ["a b", "", "*", "--", "$HOME", "ö"];
    const env = { ...process.env, ONEHOLD_NODE: process.execPath };
    const ended = spawnSync(join(installed, "bin/onehold"), args, { encoding: "utf8", env });
    assert.deepEqual(JSON.parse(ended.stdout), args);
    assert.equal(ended.status, 3);
  });

  test("without any Node.js says what to do", () => {
    const env = { ONEHOLD_NODE: "/nonexistent/node", PATH: "/usr/bin:/bin" };
    const ended = spawnSync(launcher, ["--version"], { encoding: "utf8", env });
    assert.equal(ended.status, 1);
    assert.equal(ended.stdout, "");
    assert.match(ended.stderr, /no program \/nonexistent\/node\nhint: set ONEHOLD_NODE/);
  });
});

describe("an old Node.js", () => {
  const bundle = join(root, "dist/onehold.mjs");

  test("is told apart by its version", () => {
    for (const found of ["18.19.0", "20.20.2", "24.21.0", "26.9.9"])
      assert.match(tooOldNode(found) ?? "", /needs Node\.js 26\.10/);
    for (const found of ["26.10.0", "26.11.1", "27.0.0"]) assert.equal(tooOldNode(found), undefined);
  });

  test("can read the start of the bundle", () => {
    const code = readFileSync(bundle, "utf8");
    const lowered = transformSync(code, { target: "node18", format: "esm" }).code;
    assert.equal(lowered, transformSync(code, { target: "esnext", format: "esm" }).code);
  });

  test("is named, with the version that is needed, and nothing else is loaded", async () => {
    await using folder = await makeTemporaryFolder("old-node");
    copyFileSync(bundle, join(folder.path, "onehold.mjs"));
    const pretend = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.20.2" } });`;
    const args = ["--import", `data:text/javascript,${encodeURIComponent(pretend)}`, join(folder.path, "onehold.mjs")];
    const ended = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.equal(ended.status, 1);
    assert.equal(ended.stdout, "");
    assert.match(
      ended.stderr,
      /^error: this is Node\.js 20\.20\.2; Onehold needs Node\.js 26\.10 or newer\nhint: .*\n$/,
    );
  });
});
