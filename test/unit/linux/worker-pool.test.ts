import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { SystemError } from "#linux/system-error.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import type { PoolRequest } from "./pool-worker.ts";

const entry = new URL("./pool-worker.ts", import.meta.url);
const makePool = (size: number, data?: unknown) => new WorkerPool<PoolRequest, unknown>(entry, size, data);

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => assert.fail(`resolved with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
}

describe("a worker pool", () => {
  test("answers, in any order", async () => {
    await using pool = makePool(2);
    await pool.run({ ask: "wait", ms: 0, value: 0 });
    const order: unknown[] = [];
    const note = (value: unknown) => order.push(value);
    await Promise.all([
      pool.run({ ask: "wait", ms: 1500, value: "slow" }).then(note),
      pool.run({ ask: "wait", ms: 0, value: "quick" }).then(note),
      pool.run({ ask: "wait", ms: 0, value: "next" }).then(note),
    ]);
    assert.deepEqual(order, ["quick", "next", "slow"]);
  });

  test("starts requests in their order", async () => {
    await using pool = makePool(1);
    const order: unknown[] = [];
    const all = ["a", "b", "c", "d"].map((value) =>
      pool.run({ ask: "wait", ms: 1, value }).then((reply) => order.push(reply)),
    );
    assert.equal(pool.queued, 3);
    assert.equal(pool.idle, 0);
    await Promise.all(all);
    assert.deepEqual(order, ["a", "b", "c", "d"]);
    assert.equal(pool.queued, 0);
    assert.equal(pool.idle, 1);
  });

  test("works with as many threads at once as it has, and no more", async () => {
    await using pool = makePool(2);
    const two = new SharedArrayBuffer(4);
    const meetTwo = () => pool.run({ ask: "meet", shared: two, count: 2, patienceMs: 10_000 });
    assert.deepEqual(await Promise.all([meetTwo(), meetTwo()]), [true, true]);
    const three = new SharedArrayBuffer(4);
    const meetThree = () => pool.run({ ask: "meet", shared: three, count: 3, patienceMs: 300 });
    const met = await Promise.all([meetThree(), meetThree(), meetThree()]);
    // The third starts when one of the two has given up; it may still meet the other.
    assert.ok(met.slice(0, 2).includes(false), "a third thread was at work");
  });

  test("gives its data to every worker", async () => {
    await using pool = makePool(1, { root: "/x" });
    assert.deepEqual(await pool.run({ ask: "data" }), { root: "/x" });
  });

  test("moves what is to be transferred", async () => {
    await using pool = makePool(1);
    const value = new Uint8Array([1, 2, 3]);
    const reply = await pool.run({ ask: "wait", ms: 0, value }, [value.buffer]);
    assert.deepEqual(reply, new Uint8Array([1, 2, 3]));
    assert.equal(value.length, 0);
  });

  test("lets threads close what others have opened", async () => {
    await using pool = makePool(1);
    const warnings: unknown[] = [];
    const note = (warning: unknown) => warnings.push(warning);
    process.on("warning", note);
    const fd = (await pool.run({ ask: "open", path: "/dev/null" })) as number;
    await using other = makePool(1);
    await other.run({ ask: "close", fd });
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("warning", note);
    assert.deepEqual(warnings, []);
  });
});

describe("an error in a worker", () => {
  test("comes with its class and fields", async () => {
    await using pool = makePool(1);
    const error = await failureOf(pool.run({ ask: "throw", what: "onehold" }));
    assert.ok(error instanceof OneholdError && !(error instanceof SystemError));
    assert.deepEqual(
      [error.code, error.message, error.hint, error.subject],
      ["corrupt", "layer x is damaged", "Pull it again.", "x"],
    );
    assert.ok(error.cause instanceof Error);
    assert.equal(error.cause.message, "CRC");
    assert.match(error.stack ?? "", /pool-worker/);
  });

  test("of node:fs is a SystemError", async () => {
    await using pool = makePool(1);
    const error = await failureOf(pool.run({ ask: "open", path: "/there/is/none" }));
    assert.ok(error instanceof SystemError);
    assert.deepEqual(
      [error.errno, error.errnoName, error.syscall, error.path],
      [2, "ENOENT", "open", "/there/is/none"],
    );
    assert.equal(error.message, "open /there/is/none: no such file or directory (ENOENT)");
  });

  test("of any other kind is an Error with its message", async () => {
    await using pool = makePool(1);
    for (const [what, message] of [
      ["plain", "an oversight"],
      ["text", "just text"],
    ] as const) {
      const error = await failureOf(pool.run({ ask: "throw", what }));
      assert.ok(error instanceof Error && !(error instanceof OneholdError));
      assert.equal(error.message, message);
    }
  });

  test("leaves the worker in service", async () => {
    await using pool = makePool(1);
    await failureOf(pool.run({ ask: "throw", what: "plain" }));
    assert.equal(await pool.run({ ask: "wait", ms: 0, value: 5 }), 5);
  });

  test("a reply that can't be cloned is one", async () => {
    await using pool = makePool(1);
    const error = await failureOf(pool.run({ ask: "unclonable" }));
    assert.match(String(error), /could not be cloned/);
    assert.equal(await pool.run({ ask: "wait", ms: 0, value: 5 }), 5);
  });
});

describe("a worker that dies", () => {
  test("rejects its request, and the next one gets a new worker", async () => {
    await using pool = makePool(1);
    const failed = failureOf(pool.run({ ask: "exit" }));
    const next = pool.run({ ask: "wait", ms: 0, value: "still here" });
    assert.match(String(await failed), /ended unasked, with status 3/);
    assert.equal(await next, "still here");
  });

  test("between two requests is replaced", async () => {
    await using pool = makePool(1);
    const first = await pool.run({ ask: "crash" });
    const failures: unknown[] = [];
    const thread = () => pool.run({ ask: "thread" }).catch((error: unknown) => void failures.push(error));
    let next = await thread();
    while (next === first || next === undefined) next = await thread();
    assert.ok(failures.length <= 1, "only a request that it had got");
    for (const error of failures) assert.match(String(error), /out of the blue/);
  });

  test("at its start rejects every request, and nothing waits forever", async () => {
    await using pool = new WorkerPool<number, number>(new URL("./no-such-worker.ts", import.meta.url), 2);
    const errors = await Promise.all([1, 2, 3, 4].map((n) => failureOf(pool.run(n))));
    for (const error of errors) assert.match(String(error), /no-such-worker/);
  });
});

test("closing the pool rejects what is not done, at once, and refuses more", async () => {
  const pool = makePool(1);
  const errors = [failureOf(pool.run({ ask: "wait", ms: 60_000, value: 0 })), failureOf(pool.run({ ask: "data" }))];
  await pool[Symbol.asyncDispose]();
  for (const error of await Promise.all(errors))
    assert.ok(error instanceof OneholdError && error.code === "interrupted");
  assert.match(String(await failureOf(pool.run({ ask: "data" }))), /closed/);
});
