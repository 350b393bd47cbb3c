import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatBytes, formatCount, formatCountdown, formatDuration, formatRate } from "#base/amounts.ts";

describe("formatBytes", () => {
  const examples: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [9994, "9.99 kB"],
    [9996, "10.0 kB"],
    [999_949, "999.9 kB"],
    [999_950, "1.00 MB"],
    [960_100_000, "960.1 MB"],
    [1_243_000_000, "1.24 GB"],
    [-2500, "-2.50 kB"],
    [Number.MAX_SAFE_INTEGER, "9.01 PB"],
    [2 ** 64, "18.4 EB"],
  ];
  for (const [bytes, text] of examples) {
    test(`${bytes} is ${text}`, () => assert.equal(formatBytes(bytes), text));
  }

  test("needs at most 8 characters, whatever the amount", () => {
    for (let bytes = 1; bytes < 2 ** 60; bytes = Math.ceil(bytes * 1.0007)) {
      assert.ok(formatBytes(bytes).length <= 8, `${bytes}: ${formatBytes(bytes)}`);
    }
  });
});

test("formatRate is bytes in a second", () => assert.equal(formatRate(12_345_678.9), "12.3 MB/s"));

describe("formatDuration", () => {
  const examples: [number, string][] = [
    [0, "0.0 s"],
    [350, "0.3 s"],
    [9_949, "9.9 s"],
    [9_950, "10 s"],
    [59_499, "59 s"],
    [59_500, "1 min 00 s"],
    [185_000, "3 min 05 s"],
    [3_599_700, "1 h 00 min"],
    [7_380_000, "2 h 03 min"],
  ];
  for (const [milliseconds, text] of examples) {
    test(`${milliseconds} ms is ${text}`, () => assert.equal(formatDuration(milliseconds), text));
  }
});

describe("formatCountdown", () => {
  const examples: [number, string][] = [
    [0, "0s"],
    [7.1, "8s"],
    [59.5, "1m00s"],
    [123, "2m03s"],
    [3720, "1h02m"],
    [1e9, ">99h"],
  ];
  for (const [seconds, text] of examples) {
    test(`${seconds} s is ${text}`, () => assert.equal(formatCountdown(seconds), text));
  }
});

test("formatCount has a plural", () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => formatCount(count, "layer")),
    ["0 layers", "1 layer", "2 layers"],
  );
});
