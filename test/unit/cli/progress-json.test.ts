import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test, type TestContext } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as fc from "fast-check";
import type { ProgressEvent } from "#base/progress.ts";
import { type LineSink, progressJson } from "#cli/progress-json.ts";
import { layer, pulling, staging } from "./events.ts";

const schema = JSON.parse(
  readFileSync(new URL("../../fixtures/schemas/bootc-progress-v0.schema.json", import.meta.url), "utf8"),
) as object;
const ajv = new Ajv2020({
  allErrors: true,
  formats: { uint64: { type: "number", validate: (value) => Number.isSafeInteger(value) && value >= 0 } },
});
const isValid = ajv.compile(schema);

function begin(t: TestContext, accepts: (essential: boolean) => boolean = () => true) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const lines: string[] = [];
  const sink: LineSink = {
    write: (line, essential) => {
      if (!accepts(essential)) return false;
      lines.push(line);
      return true;
    },
    close: async () => {},
  };
  const reporter = progressJson(sink, () => now);
  const pass = (milliseconds: number): void => {
    now += milliseconds;
    t.mock.timers.tick(milliseconds);
  };
  return { ...reporter, pass, lines, objects: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe("every line is valid by bootc's schema", () => {
  test("the schema refuses what is not", () => {
    assert.ok(!isValid({ type: "ProgressBytes", task: "pulling" }));
    assert.ok(!isValid({ type: "Start", version: 1 }));
  });

  const amount = fc.oneof(
    fc.nat(),
    fc.double(),
    fc.constantFrom(-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60),
  );
  const text = fc.string({ unit: "binary" });
  const amounts = { bytes: amount, bytesCached: amount, bytesTotal: amount };
  const steps = { steps: amount, stepsCached: amount, stepsTotal: amount };
  const named = { id: text, description: text };
  const events: fc.Arbitrary<ProgressEvent> = fc.oneof(
    fc.record({
      ...named,
      ...amounts,
      ...steps,
      kind: fc.constant("bytes" as const),
      task: text,
      parts: fc.array(fc.record({ ...named, ...amounts, part: text })),
      estimated: fc.boolean(),
    }),
    fc.record({
      ...named,
      ...steps,
      kind: fc.constant("steps" as const),
      task: text,
      parts: fc.array(fc.record({ ...named, part: text, completed: fc.boolean() })),
    }),
    fc.record({
      kind: fc.constant("notice" as const),
      level: fc.constantFrom("info" as const, "warning" as const),
      text,
    }),
  );

  test("whatever is reported", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    await fc.assert(
      fc.asyncProperty(fc.array(events), async (reported) => {
        const lines: string[] = [];
        const { report, close } = progressJson({
          write: (line) => lines.push(line) > 0,
          close: async () => {},
        });
        for (const event of reported) report(event);
        await close();
        for (const line of lines) {
          assert.match(line, /^[^\n]*\n$/);
          const value: unknown = JSON.parse(line);
          assert.ok(isValid(value), `${line}: ${ajv.errorsText(isValid.errors)}`);
        }
      }),
    );
  });
});

test("begins with Start, even where nothing else comes; keys are sorted", async (t) => {
  const { report, close, lines } = begin(t);
  assert.deepEqual(lines, []);
  report({ kind: "notice", level: "info", text: "for people" });
  await close();
  assert.deepEqual(lines, ['{"type":"Start","version":"0.1.0"}\n']);
});

test("bytes have bootc's names", (t) => {
  const { report, lines } = begin(t);
  report(pulling([layer("aa", 3, 7), layer("bb", 5, 5, 5)], { estimated: true }));
  const id = (name: string): string => `sha256:${name.padEnd(64, "0")}`;
  assert.equal(
    lines[1],
    '{"bytes":8,"bytesCached":5,"bytesTotal":12,"description":"Pulling localhost:5000/os:1 (estimated)","id":"localhost:5000/os:1",' +
      '"steps":1,"stepsCached":1,"stepsTotal":2,"subtasks":[' +
      `{"bytes":3,"bytesCached":0,"bytesTotal":7,"description":"layer","id":"${id("aa")}","subtask":"layer"},` +
      `{"bytes":5,"bytesCached":5,"bytesTotal":5,"description":"layer","id":"${id("bb")}","subtask":"layer"}],` +
      '"task":"pulling","type":"ProgressBytes"}\n',
  );
});

test("steps have bootc's names", (t) => {
  const { report, lines } = begin(t);
  report(staging(1, ["merging", "cleanup"]));
  assert.equal(
    lines[1],
    '{"description":"Deploying the image","id":"staging","steps":1,"stepsCached":0,"stepsTotal":2,"subtasks":[' +
      '{"completed":true,"description":"merging","id":"merging","subtask":"merging"},' +
      '{"completed":false,"description":"cleanup","id":"cleanup","subtask":"cleanup"}],"task":"staging","type":"ProgressSteps"}\n',
  );
});

test("five events a second at most, the last one always", async (t) => {
  const { report, pass, close, objects } = begin(t);
  for (let i = 0; i < 1000; i++) {
    report(pulling([layer("aa", i, 1000)]));
    pass(1);
  }
  await close();
  const bytes = objects()
    .slice(1)
    .map((object) => object["bytes"]);
  assert.ok(bytes.length <= 7, `${bytes.length} events in a second`);
  assert.equal(bytes.at(-1), 999);
});

test("an event that had to wait goes out though no other follows", (t) => {
  const { report, pass, objects } = begin(t);
  report(pulling([layer("aa", 0, 10)]));
  report(pulling([layer("aa", 4, 10)]));
  assert.equal(objects().length, 2);
  pass(200);
  assert.equal(objects().at(-1)?.["bytes"], 4);
});

test("milestones go out at once: a part's end, the end of all, another task and the last event before it", (t) => {
  const { report, objects } = begin(t);
  const first = (done: number) => layer("aa", done, 10);
  report(pulling([first(0), layer("bb", 0, 10)]));
  report(pulling([first(1), layer("bb", 0, 10)]));
  report(pulling([first(10), layer("bb", 0, 10)]));
  report(pulling([first(10), layer("bb", 1, 10)]));
  report(pulling([first(10), layer("bb", 10, 10)]));
  report(staging(0));
  report(staging(0));
  report(staging(1));
  report(pulling([layer("cc", 0, 10)], { id: "other" }));
  report(pulling([layer("cc", 1, 10)], { id: "other" }));
  report(pulling([layer("dd", 0, 10)], { id: "third" }));
  assert.deepEqual(
    objects()
      .slice(1)
      .map((object) => [object["id"], object["bytes"] ?? object["steps"]]),
    [
      ["localhost:5000/os:1", 0],
      ["localhost:5000/os:1", 10],
      ["localhost:5000/os:1", 20],
      ["staging", 0],
      ["staging", 1],
      ["other", 0],
      ["other", 1],
      ["third", 0],
    ],
  );
});

test("a slow reader misses what is not essential, but neither a milestone nor the last event", async (t) => {
  const { report, pass, close, objects } = begin(t, (essential) => essential);
  for (let i = 0; i <= 15; i++) {
    report(pulling([layer("aa", Math.min(i, 10), 10), layer("bb", i, 20)]));
    pass(1000);
  }
  await close();
  assert.deepEqual(
    objects()
      .slice(1)
      .map((object) => object["bytes"]),
    [0, 20, 25],
  );
});
