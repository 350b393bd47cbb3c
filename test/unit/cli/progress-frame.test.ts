import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { bytesFrame, stepsFrame } from "#cli/progress-frame.ts";
import type { Speed } from "#cli/progress-measures.ts";
import { layer, pulling, staging } from "./events.ts";

const unknownSpeed: Speed = { rate: undefined, remaining: undefined, elapsed: 0 };
const speed: Speed = { rate: 12_300_000, remaining: 7.2, elapsed: 9_000 };

const three = [
  layer("4f4fb700ef54", 12e6, 48e6),
  layer("8a1e25ce7c4f", 30e6, 30e6),
  layer("1b930d010525", 50e6, 50e6, 50e6),
];

describe("bytes on a terminal", () => {
  test("a line for each layer and one for the total, done and cached ones named as such", () => {
    assert.deepEqual(bytesFrame(pulling(three), speed, { columns: 80, rows: 24 }), [
      "Pulling localhost:5000/os:1  2/3 layers",
      "  4f4fb700ef54  [=>         ]   25%     12.0 MB/48.0 MB",
      "  8a1e25ce7c4f  done                            30.0 MB",
      "  1b930d010525  cached                          50.0 MB",
      "  total         [======>    ]   71%    92.0 MB/128.0 MB   12.3 MB/s  ETA 8s",
    ]);
  });

  test("an estimate says so", () => {
    const lines = bytesFrame(pulling(three, { estimated: true }), unknownSpeed, { columns: 80, rows: 24 });
    assert.match(lines[1] ?? "", /~12\.0 MB\/48\.0 MB$/);
    assert.match(lines[4] ?? "", /~92\.0 MB\/128\.0 MB$/);
  });

  test("where the total is not known, only what has come", () => {
    const lines = bytesFrame(pulling([layer("4f4f", 12e6, 0)]), speed, { columns: 80, rows: 24 });
    assert.match(lines[1] ?? "", /^ {2}4f4f\S* +12\.0 MB$/);
    assert.match(lines[2] ?? "", /^ {2}total +12\.0 MB +12\.3 MB\/s/);
  });

  test("100 % is complete and nothing less", () => {
    const [, line] = bytesFrame(pulling([layer("4f4f", 999_999_999, 1e9)]), unknownSpeed, { columns: 80, rows: 24 });
    assert.match(line ?? "", / 99% /);
  });

  test("more than the total shows as the total", () => {
    const lines = bytesFrame(pulling([layer("4f4f", 2e6, 1e6)], { bytes: 2e6 }), speed, { columns: 80, rows: 24 });
    assert.match(lines[1] ?? "", /^ {2}4f4f\S* +done +1\.00 MB$/);
  });

  test("at the end the total says how long it took, at what speed, and what was there before", () => {
    const whole = [layer("4f4f", 48e6, 48e6), layer("1b93", 52e6, 52e6, 52e6)];
    const lines = bytesFrame(pulling(whole), { ...speed, elapsed: 12_000 }, { columns: 100, rows: 24 });
    assert.equal(lines.at(-1), "  total         100.0 MB in 12 s (4.00 MB/s), 52.0 MB of it cached");
  });

  test("descriptions that say more than the id come where there is room", () => {
    const described = three.map((part, index) => ({ ...part, description: `Debian packages ${index}` }));
    const shows = (columns: number): boolean =>
      bytesFrame(pulling(described), speed, { columns, rows: 24 }).some((line) => line.includes("packages 2"));
    assert.deepEqual([shows(80), shows(120)], [false, true]);
  });

  test("descriptions that repeat the id leave their room to the bars", () => {
    const named = three.map((part) => ({ ...part, description: `Layer ${part.id}` }));
    const [, first] = bytesFrame(pulling(named), speed, { columns: 120, rows: 24 });
    assert.equal(first, `  4f4fb700ef54  [${"=".repeat(9)}>${" ".repeat(30)}]   25%     12.0 MB/48.0 MB`);
  });

  test("a task without parts says what it does and how far it is", () => {
    const task = { ...pulling([]), bytes: 5e8, bytesTotal: 1e9, steps: 0, stepsTotal: 0, description: "Sharing" };
    assert.deepEqual(bytesFrame(task, speed, { columns: 80, rows: 24 }), [
      "Sharing",
      "  total  [========>         ]   50%    500.0 MB/1.00 GB   12.3 MB/s  ETA 8s",
    ]);
  });

  test("more layers than rows: those that run stay, the others are summed up", () => {
    const done = Array.from({ length: 30 }, (_, index) => layer(`a${index}`.padEnd(12, "e"), 1e6, 1e6));
    const cached = layer("cccccccccccc", 1e6, 1e6, 1e6);
    const running = [layer("111111111111", 5e5, 1e6), layer("222222222222", 5e5, 1e6)];
    const waiting = Array.from({ length: 20 }, (_, index) => layer(`b${index}`.padEnd(12, "e"), 0, 1e6));
    const lines = bytesFrame(pulling([...done, cached, ...running, ...waiting]), speed, { columns: 80, rows: 10 });
    assert.equal(lines.length, 9);
    assert.equal(lines[1], "  … 30 done, 1 cached, 16 waiting");
    assert.match(lines[2] ?? "", /^ {2}111111111111 {2}\[/);
    assert.match(lines[3] ?? "", /^ {2}222222222222 {2}\[/);
    assert.match(lines[4] ?? "", /^ {2}b0eeeeeeeeee {2}waiting/);
    assert.match(lines[8] ?? "", /^ {2}total/);
  });

  test("a narrow terminal loses the rate first, then the time left, the bars, the amounts; never what and how far", () => {
    const texts = [80, 68, 58, 44, 26].map((columns) =>
      bytesFrame(pulling(three), { ...speed, elapsed: 9000 }, { columns, rows: 24 }).join("\n"),
    );
    const has = (what: RegExp): boolean[] => texts.map((text) => what.test(text));
    assert.deepEqual(has(/12\.3 MB\/s/), [true, false, false, false, false]);
    assert.deepEqual(has(/ETA 8s/), [true, true, false, false, false]);
    assert.deepEqual(has(/\[=+> /), [true, true, true, false, false]);
    assert.deepEqual(has(/12\.0 MB\/48\.0 MB/), [true, true, true, true, false]);
    assert.deepEqual(has(/4f4fb700ef54 .* 25%/), [true, true, true, true, true]);
  });

  test("is narrower and lower than any terminal", () => {
    const part = fc.record({
      part: fc.constantFrom("layer", "ostree_chunk"),
      id: fc.oneof(fc.constant(`sha256:${"4f".repeat(32)}`), fc.string({ maxLength: 40 })),
      description: fc.string({ maxLength: 60, unit: "binary-ascii" }),
      bytes: fc.nat(2e9),
      bytesCached: fc.nat(2e9),
      bytesTotal: fc.nat(2e9),
    });
    const size = fc.record({ columns: fc.integer({ min: 2, max: 200 }), rows: fc.integer({ min: 2, max: 60 }) });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 80 }), size, fc.boolean(), (parts, { columns, rows }, estimated) => {
        const lines = bytesFrame(pulling(parts, { estimated }), speed, { columns, rows });
        assert.ok(lines.length < rows && lines.length > 0, `${lines.length} lines`);
        for (const line of lines) assert.ok(line.length < columns && !/\p{Cc}/u.test(line), JSON.stringify(line));
      }),
    );
  });
});

describe("steps on a terminal", () => {
  test("a checklist with the running step marked", () => {
    assert.deepEqual(stepsFrame(staging(1), { columns: 80, rows: 24 }), [
      "Deploying the image  1/3",
      "  [x] merging",
      "  [>] deploying",
      "  [ ] cleanup",
    ]);
  });

  test("in few rows the running step and what comes after it", () => {
    const names = Array.from({ length: 12 }, (_, index) => `step ${index}`);
    assert.deepEqual(stepsFrame(staging(8, names), { columns: 80, rows: 6 }), [
      "Deploying the image  8/12",
      "  … 8 done, 1 waiting",
      "  [>] step 8",
      "  [ ] step 9",
      "  [ ] step 10",
    ]);
    assert.deepEqual(stepsFrame(staging(8, names), { columns: 80, rows: 2 }), ["Deploying the image  8/12"]);
  });
});
