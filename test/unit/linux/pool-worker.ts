import { closeSync, openSync } from "node:fs";
import { threadId } from "node:worker_threads";
import { OneholdError } from "#base/errors.ts";
import { dataOfWorker, serve } from "#linux/worker-pool.ts";

/** What the tests ask of a worker. */
export type PoolRequest =
  | { readonly ask: "wait"; readonly ms: number; readonly value: unknown }
  | { readonly ask: "data" }
  | { readonly ask: "meet"; readonly shared: SharedArrayBuffer; readonly count: number; readonly patienceMs: number }
  | { readonly ask: "open"; readonly path: string }
  | { readonly ask: "close"; readonly fd: number }
  | { readonly ask: "throw"; readonly what: "onehold" | "plain" | "text" }
  | { readonly ask: "exit" }
  | { readonly ask: "crash" }
  | { readonly ask: "thread" }
  | { readonly ask: "unclonable" };

serve((request: PoolRequest): unknown => {
  switch (request.ask) {
    case "wait":
      sleep(request.ms);
      return request.value;
    case "data":
      return dataOfWorker();
    case "meet":
      return meet(new Int32Array(request.shared), request.count, request.patienceMs);
    case "open":
      return openSync(request.path, "r");
    case "close":
      return closeSync(request.fd);
    case "throw":
      throw failure(request.what);
    case "exit":
      return process.exit(3);
    case "crash":
      setTimeout(() => {
        throw new Error("out of the blue");
      }, 300);
      return threadId;
    case "thread":
      return threadId;
    case "unclonable":
      return () => {};
  }
});

function failure(what: "onehold" | "plain" | "text"): unknown {
  if (what === "text") return "just text";
  if (what === "plain") return new TypeError("an oversight");
  return new OneholdError("corrupt", "layer x is damaged", {
    hint: "Pull it again.",
    subject: "x",
    cause: new Error("CRC"),
  });
}

/** True once so many workers are in here at the same time; false where they don't come in time. */
function meet(counter: Int32Array, count: number, patienceMs: number): boolean {
  Atomics.add(counter, 0, 1);
  Atomics.notify(counter, 0);
  for (;;) {
    const arrived = Atomics.load(counter, 0);
    if (arrived >= count) return true;
    if (Atomics.wait(counter, 0, arrived, patienceMs) === "timed-out") return false;
  }
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
