import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { progressLines } from "#cli/progress-lines.ts";
import { layer, pulling, staging } from "./events.ts";

function begin(t: TestContext) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let now = 0;
  let text = "";
  const reporter = progressLines(
    (more) => {
      text += more;
    },
    () => now,
  );
  const pass = (milliseconds: number): void => {
    for (let left = milliseconds; left > 0; left -= 1000) {
      now += Math.min(left, 1000);
      t.mock.timers.tick(Math.min(left, 1000));
    }
  };
  /** The lines since the last call. */
  const lines = (): string[] => {
    const [...said] = text.split("\n").slice(0, -1);
    text = "";
    return said;
  };
  return { ...reporter, pass, lines };
}

test("a task's beginning, each layer's end and the task's end are said at once", (t) => {
  const { report, pass, lines } = begin(t);
  const cached = layer("cccc", 50e6, 50e6, 50e6);
  report(pulling([layer("aaaa", 0, 30e6), layer("bbbb", 0, 20e6), cached]));
  assert.deepEqual(lines(), ["Pulling localhost:5000/os:1: 3 layers, 100.0 MB, 50.0 MB of it cached"]);
  pass(2000);
  report(pulling([layer("aaaa", 30e6, 30e6), layer("bbbb", 1e6, 20e6), cached]));
  assert.deepEqual(lines(), ["layer aaaa00000000: done, 30.0 MB"]);
  pass(2000);
  report(pulling([layer("aaaa", 30e6, 30e6), layer("bbbb", 20e6, 20e6), cached]));
  assert.deepEqual(lines(), [
    "layer bbbb00000000: done, 20.0 MB",
    "Pulling localhost:5000/os:1: done, 100.0 MB in 4.0 s (12.5 MB/s), 50.0 MB of it cached",
  ]);
  pass(120_000);
  assert.deepEqual(lines(), []);
});

test("the amount every five seconds while it changes", (t) => {
  const { report, pass, lines } = begin(t);
  report(pulling([layer("aaaa", 0, 100e6)]));
  for (let second = 1; second <= 22; second++) {
    pass(900);
    report(pulling([layer("aaaa", second * 1e6, 100e6)]));
    pass(100);
  }
  assert.deepEqual(lines(), [
    "Pulling localhost:5000/os:1: 1 layer, 100.0 MB",
    "Pulling localhost:5000/os:1: 5.00 MB of 100.0 MB (5 %), 1.00 MB/s, 1m35s left",
    "Pulling localhost:5000/os:1: 10.0 MB of 100.0 MB (10 %), 1.00 MB/s, 1m30s left",
    "Pulling localhost:5000/os:1: 15.0 MB of 100.0 MB (15 %), 1.00 MB/s, 1m25s left",
    "Pulling localhost:5000/os:1: 20.0 MB of 100.0 MB (20 %), 1.00 MB/s, 1m20s left",
  ]);
});

test("never a silent minute: a stalled task says that it is one", (t) => {
  const { report, pass, lines } = begin(t);
  report(pulling([layer("aaaa", 5e6, 100e6)]));
  lines();
  pass(70_000);
  assert.deepEqual(lines(), [
    "Pulling localhost:5000/os:1: still 5.00 MB of 100.0 MB (5 %), 0 B/s",
    "Pulling localhost:5000/os:1: still 5.00 MB of 100.0 MB (5 %), 0 B/s",
  ]);
  report(staging(0));
  lines();
  pass(70_000);
  assert.equal(lines().length, 2);
});

test("each step when it begins", (t) => {
  const { report, lines } = begin(t);
  for (const steps of [0, 0, 1, 2, 3]) report(staging(steps));
  assert.deepEqual(lines(), [
    "Deploying the image: 1/3 merging",
    "Deploying the image: 2/3 deploying",
    "Deploying the image: 3/3 cleanup",
    "Deploying the image: done",
  ]);
});

test("an estimate says so, and notices come as they are", (t) => {
  const { report, lines } = begin(t);
  report({ kind: "notice", level: "info", text: "waiting for `gc` to end" });
  report(pulling([layer("aaaa", 0, 100e6)], { estimated: true }));
  report({ kind: "notice", level: "warning", text: "little space\x07" });
  assert.deepEqual(lines(), [
    "waiting for `gc` to end",
    "Pulling localhost:5000/os:1: 1 layer, about 100.0 MB",
    "warning: little space\\x07",
  ]);
});
