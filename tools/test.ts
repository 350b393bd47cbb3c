/**
 * Runs test files, each in a process of its own: those of test/unit on all cores, then those of test/host
 * two at a time, as they wait for disks and locks and share the machine's loop devices. `*.long.test.ts`
 * run with --long, or where they are named. The last line is always `N passed, N failed`.
 */
import { existsSync, globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, resolve } from "node:path";
import { run } from "node:test";
import type { TestEvent as NodeTestEvent } from "node:test/reporters";
import { parseArgs } from "node:util";
import { reportFile, type TestEvent } from "./test-reporter.ts";

const root = dirname(import.meta.dirname);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { long: { type: "boolean", default: false } },
});
const minutes = 60_000;
const limit = values.long || positionals.length > 0 ? 30 * minutes : 10 * minutes;

const missing = positionals.filter((path) => !existsSync(path));
if (missing.length > 0) {
  console.error(`no such test file: ${missing.join(", ")}`);
  process.exit(2);
}
const files = positionals.length > 0 ? positionals.map((path) => resolve(path)) : findFiles();
const host = files.filter((file) => file.includes("/test/host/"));
const unit = files.filter((file) => !host.includes(file));

const total = { passed: 0, failed: 0 };
await runAll(unit, availableParallelism());
await runAll(host, 2);
if (total.passed + total.failed === 0) console.log("no test ran");
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

function findFiles(): string[] {
  return globSync("test/**/*.test.ts", { cwd: root })
    .filter((path) => values.long || !path.endsWith(".long.test.ts"))
    .toSorted()
    .map((path) => resolve(root, path));
}

async function runAll(queue: readonly string[], concurrency: number): Promise<void> {
  const waiting = queue.values();
  const runner = async (): Promise<void> => {
    for (const file of waiting) await runFile(file);
  };
  await Promise.all(Array.from({ length: concurrency }, runner));
}

async function runFile(file: string): Promise<void> {
  const events: AsyncIterable<NodeTestEvent> = run({
    files: [file],
    cwd: root,
    concurrency: 1,
    signal: AbortSignal.timeout(limit),
  });
  const { passed, failed, text } = await reportFile(file, root, onlyTestEvents(events));
  total.passed += passed;
  total.failed += failed;
  process.stdout.write(text);
}

async function* onlyTestEvents(events: AsyncIterable<NodeTestEvent>): AsyncGenerator<TestEvent> {
  for await (const event of events) {
    if (event.type === "test:pass" || event.type === "test:fail") yield event;
    else if (event.type === "test:stdout" || event.type === "test:stderr") yield event;
  }
}
