import assert from "node:assert/strict";
import { test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { renderError, statusOfError } from "#cli/errors.ts";

test("an error is its message and its hint, without a stack trace", () => {
  const error = new OneholdError("no-space", "the image needs 960.1 MB, 12.0 MB are free", { hint: "Make room." });
  assert.equal(
    renderError(error, "onehold image pull"),
    "error: the image needs 960.1 MB, 12.0 MB are free\nhint: Make room.\n",
  );
  assert.equal(renderError(new OneholdError("busy", "busy"), "onehold usage"), "error: busy\n");
});

test("wrong usage points to the verb's help, if there is no better hint", () => {
  const error = new OneholdError("usage", '"a b" is no image');
  assert.equal(
    renderError(error, "onehold image pull"),
    "error: \"a b\" is no image\nhint: See 'onehold image pull --help'.\n",
  );
});

test("what a program or registry said can't control the terminal", () => {
  const error = new OneholdError("pull-failed", "podman: 404\n\x1b[1A\x1b[2Kall is fine\u202e\r");
  assert.equal(renderError(error, "x"), "error: podman: 404\n\\x1b[1A\\x1b[2Kall is fine\\u202e\\x0d\n");
});

test("a mistake of the program has its stack trace, and asks for a report", () => {
  for (const error of [new TypeError("x is undefined"), new OneholdError("bug", "x is undefined")]) {
    assert.match(
      renderError(error, "onehold usage"),
      /^error: \w+: x is undefined\n {4}at .*errors\.test\.ts[^]*\nhint: This is a bug in Onehold \d.*report.*\n$/,
    );
  }
  assert.match(renderError("thrown text", "onehold usage"), /^error: thrown text\nhint: This is a bug/);
});

test("exit statuses", () => {
  assert.equal(statusOfError(new OneholdError("no-space", ""), undefined), 1);
  assert.equal(statusOfError(new Error("bug"), undefined), 1);
  assert.equal(statusOfError(new OneholdError("usage", ""), undefined), 2);
  assert.equal(statusOfError(new OneholdError("interrupted", ""), undefined), 130);
  assert.equal(statusOfError(new OneholdError("interrupted", ""), "SIGINT"), 130);
  assert.equal(statusOfError(new OneholdError("interrupted", ""), "SIGTERM"), 143);
  assert.equal(statusOfError(new OneholdError("corrupt", ""), "SIGTERM"), 1);
});
