import assert from "node:assert/strict";
import { test } from "node:test";
import { umask } from "#linux/umask.ts";
import { runProgram } from "#fixtures/programs.ts";

test("the umask is the one that the shell tells of", async () => {
  assert.equal(umask(), Number.parseInt(await runProgram("sh", ["-c", "umask"]), 8));
});
