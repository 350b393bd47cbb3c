import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { missingEntries, parseLock } from "../../../tools/lock.ts";

describe("package-lock.json", () => {
  const text = readFileSync(join(import.meta.dirname, "../../../package-lock.json"), "utf8");

  test("has what npm ci asks for: run `node tools/lock.ts` after `npm install`", () => {
    assert.deepEqual([...missingEntries(parseLock(text)).keys()], []);
  });

  test("names no registry", () => {
    assert.doesNotMatch(text, /"resolved"/);
  });
});

describe("missing entries of a lock file", () => {
  function missingOf(name: string, dev: boolean): unknown {
    const packages = { "node_modules/tool": { version: "1.0.0", dev, optionalDependencies: { [name]: "1.0.0" } } };
    return missingEntries({ packages }).get(`node_modules/${name}`);
  }

  test("get the platform that their name tells", () => {
    assert.deepEqual(missingOf("@tool/cli-darwin-arm64", false), {
      version: "1.0.0",
      cpu: ["arm64"],
      optional: true,
      os: ["darwin"],
    });
    assert.deepEqual(missingOf("@tool/linux-x64-musl", true), {
      version: "1.0.0",
      cpu: ["x64"],
      dev: true,
      libc: ["musl"],
      optional: true,
      os: ["linux"],
    });
  });

  test("that tell none are an error", () => {
    assert.throws(() => missingOf("fsevents", true), /does not tell its platform/);
  });
});
