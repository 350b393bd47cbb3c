import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

const runner = join(import.meta.dirname, "../../../tools/test.ts");

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly lastLine: string;
}

/** Runs the runner on test files with these texts. */
async function runTests(texts: Readonly<Record<string, string>>): Promise<Ended> {
  await using folder = await makeTemporaryFolder("runner");
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(folder.path, name), text);
  const names = Object.keys(texts).map((name) => join(folder.path, name));
  // Without this variable of ours the runner would take itself for a test.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout } = spawnSync(process.execPath, [runner, ...names], { encoding: "utf8", env });
  return { status, stdout, lastLine: stdout.trimEnd().split("\n").at(-1) ?? "" };
}

const imports = 'import { describe, test } from "node:test";\nimport assert from "node:assert/strict";\n';

describe("the test runner", () => {
  test("counts the tests of all files, not the suites", async () => {
    const passing = `${imports}describe("s", () => { test("a", () => {}); test("b", () => {}); });\n`;
    const ended = await runTests({ "a.test.ts": passing, "b.test.ts": passing });
    assert.equal(ended.lastLine, "4 passed, 0 failed");
    assert.equal(ended.status, 0);
  });

  test("shows a failure with its place, its error, the cause and what was printed", async () => {
    const ended = await runTests({
      "a.test.ts": `${imports}console.log("a clue");
        describe("s", () => {
          test("right", () => {});
          test("wrong", () => { throw new Error("outside", { cause: new TypeError("inside") }); });
        });\n`,
    });
    assert.equal(ended.lastLine, "1 passed, 1 failed");
    assert.equal(ended.status, 1);
    for (const part of [
      /FAIL .*a\.test\.ts/,
      /wrong {2}\(.*a\.test\.ts:6\)/,
      /Error: outside/,
      /cause: TypeError: inside/,
      /a clue/,
    ]) {
      assert.match(ended.stdout, part);
    }
  });

  const failures: readonly [what: string, text: string, lastLine: string, shown: RegExp][] = [
    ["a skipped test", 'test("a", { skip: "no xfs" }, () => {});', "0 passed, 1 failed", /skipped \(no xfs\)/],
    ["a test that is still to do", 'test("a", { todo: true }, () => {});', "0 passed, 1 failed", /todo/],
    ["a file without tests", "export {};", "0 passed, 1 failed", /no test in this file/],
    ["a file that throws", 'throw new Error("top");', "0 passed, 1 failed", /Error: top/],
    [
      "a file that ends badly",
      'test("a", () => {}); setTimeout(() => process.exit(3), 100);',
      "1 passed, 1 failed",
      /itself: ended with exit status 3/,
    ],
    [
      "a subtest",
      'test("a", async (t) => { await t.test("b", () => assert.fail()); });',
      "0 passed, 1 failed",
      /b {2}\(/,
    ],
  ];
  for (const [what, text, lastLine, shown] of failures) {
    test(`counts ${what} as a failure`, async () => {
      const ended = await runTests({ "a.test.ts": `${imports}${text}\n` });
      assert.match(ended.stdout, shown);
      assert.equal(ended.lastLine, lastLine);
      assert.equal(ended.status, 1);
    });
  }

  test("refuses a file that is not there", () => {
    const { status, stderr } = spawnSync(process.execPath, [runner, "test/unit/none.test.ts"], { encoding: "utf8" });
    assert.equal(status, 2);
    assert.match(stderr, /no such test file: test\/unit\/none\.test\.ts/);
  });
});
