import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { renderOutput } from "#cli/output.ts";

const value = { image: "localhost:5000/os:1", bytes: 960_123_456 };
const human = ({ image, bytes }: typeof value): string => `${image} has ${bytes} bytes`;

test("people get the text, with a newline at its end", () => {
  assert.equal(renderOutput(value, "humanreadable", human), "localhost:5000/os:1 has 960123456 bytes\n");
  assert.equal(
    renderOutput(value, "table", () => "a\n"),
    "a\n",
  );
  assert.equal(
    renderOutput(value, "table", () => ""),
    "",
  );
});

test("programs get the value whole, bytes exact", () => {
  assert.deepEqual(JSON.parse(renderOutput(value, "json", human)), value);
  assert.deepEqual(parse(renderOutput(value, "yaml", human)), value);
  assert.match(renderOutput(value, "json", human), /\n$/);
});

test("what an image says can't control the terminal", () => {
  assert.equal(
    renderOutput(value, "humanreadable", () => "a\x1b]0;b\x07\tc"),
    "a\\x1b]0;b\\x07\tc\n",
  );
});
