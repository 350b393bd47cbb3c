import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { progressBars } from "#cli/progress-bars.ts";
import { layer, pulling, staging } from "./events.ts";
import { fakeScreen } from "./screen.ts";

function begin(t: TestContext, columns = 80, rows = 24) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let now = 0;
  const screen = fakeScreen(columns, rows);
  const reporter = progressBars(screen, () => now);
  const pass = (milliseconds: number): void => {
    now += milliseconds;
    t.mock.timers.tick(milliseconds);
  };
  return { screen, ...reporter, pass };
}

test("each frame takes the place of the one before", (t) => {
  const { screen, report, pass } = begin(t);
  report(pulling([layer("4f4f", 0, 10e6)]));
  report(pulling([layer("4f4f", 5e6, 10e6)]));
  pass(200);
  assert.match(screen.text(), /^Pulling.*\n {2}4f4f0{8} {2}\[=+> +\] +50% .*\n {2}total .*\n$/);
});

test("a frame that is shorter leaves nothing of the one before", (t) => {
  const { screen, report, pass } = begin(t);
  report(staging(0, ["one", "two", "three", "four"]));
  report(staging(1, ["one", "two"]));
  pass(200);
  assert.equal(screen.text(), "Deploying the image  1/2\n  [x] one\n  [>] two\n");
});

test("draws five times a second at most, and the last state in the end", async (t) => {
  const { screen, report, pass, close } = begin(t);
  for (let i = 0; i <= 1000; i++) {
    report(pulling([layer("4f4f", i * 1e4, 10e6)]));
    pass(1);
  }
  assert.ok(screen.writes() <= 7, `${screen.writes()} frames in a second`);
  await close();
  assert.match(screen.text(), /4f4f0{8} {2}done/);
});

test("without news nothing is written, but a stalled download loses its speed", (t) => {
  const { screen, report, pass } = begin(t);
  for (let i = 0; i < 20; i++) {
    report(pulling([layer("4f4f", i * 1e6, 100e6)]));
    pass(200);
  }
  assert.match(screen.text(), /4\.75 MB\/s {2}ETA \d+s/);
  pass(20_000);
  assert.match(screen.text(), / 0 B\/s$/m);
  const writes = screen.writes();
  pass(20_000);
  assert.equal(screen.writes(), writes);
});

test("a notice comes above the bars and stays", (t) => {
  const { screen, report } = begin(t);
  report(pulling([layer("4f4f", 0, 10e6)]));
  report({ kind: "notice", level: "warning", text: "little space\nis left\x1b[2J" });
  report({ kind: "notice", level: "info", text: "waiting" });
  assert.match(
    screen.text(),
    /^warning: little space\nis left\\x1b\[2J\nwaiting\nPulling.*\n {2}4f4f.*\n {2}total.*\n$/,
  );
});

test("a new task leaves the last frame of the one before", async (t) => {
  const { screen, report, close } = begin(t);
  report(pulling([layer("4f4f", 0, 10e6)]));
  report(pulling([layer("4f4f", 10e6, 10e6)]));
  report(staging(0));
  report(staging(3));
  await close();
  assert.equal(
    screen.text(),
    [
      "Pulling localhost:5000/os:1  1/1 layer",
      "  4f4f00000000  done                            10.0 MB",
      "  total         10.0 MB in 0.0 s",
      "Deploying the image  3/3",
      "  [x] merging",
      "  [x] deploying",
      "  [x] cleanup",
      "",
    ].join("\n"),
  );
});

test("what is printed after it has settled is not painted over", (t) => {
  const { screen, report, settle, pass } = begin(t);
  report(pulling([layer("4f4f", 0, 10e6)]));
  settle();
  screen.write("error: something\n");
  pass(1000);
  report(staging(0));
  assert.match(screen.text(), /^Pulling.*\n.*\n {2}total.*\nerror: something\nDeploying/);
});

test("more layers than rows leave what is above in peace", (t) => {
  const { screen, report, pass } = begin(t, 80, 10);
  screen.write("$ onehold image pull\n");
  for (let i = 0; i <= 40; i++) {
    report(pulling(Array.from({ length: 40 }, (_, index) => layer(`${index + 10}abcdef`, index < i ? 1e6 : 0, 1e6))));
    pass(200);
  }
  const lines = screen.text().split("\n");
  assert.equal(lines[0], "$ onehold image pull");
  assert.equal(lines.length, 1 + 9 + 1);
});
