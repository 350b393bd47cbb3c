/**
 * What a test run prints: a line for each file, and all about each failure. A test that is skipped or marked
 * as "todo" is a failure too, and so is a file without tests: what does not run must not look like a success.
 */
import { relative } from "node:path";

/** The events of node:test that count here, with the fields that are used. */
export type TestEvent =
  | { readonly type: "test:pass"; readonly data: TestResult }
  | { readonly type: "test:fail"; readonly data: TestResult }
  | { readonly type: "test:stdout"; readonly data: { readonly message: string } }
  | { readonly type: "test:stderr"; readonly data: { readonly message: string } };

export interface TestResult {
  readonly name: string;
  readonly nesting: number;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly skip?: string | boolean | undefined;
  readonly todo?: string | boolean | undefined;
  readonly details: {
    readonly type?: string | undefined;
    readonly error?: TestError | undefined;
  };
}

export interface TestError {
  readonly message: string;
  readonly failureType?: unknown;
  readonly cause?: unknown;
  /** How the process of a file ended. */
  readonly exitCode?: number | null;
  readonly signal?: string | null;
}

export interface FileReport {
  readonly passed: number;
  readonly failed: number;
  /** Whole lines, the last one too. */
  readonly text: string;
}

const outputLines = 100;

/** Reads the events of one test file to their end. Paths in the report are relative to `root`. */
export async function reportFile(file: string, root: string, events: AsyncIterable<TestEvent>): Promise<FileReport> {
  const start = performance.now();
  const failures: string[] = [];
  let passed = 0;
  let output = "";
  for await (const event of events) {
    if (event.type === "test:stdout" || event.type === "test:stderr") {
      output = lastLines(output + event.data.message);
      continue;
    }
    const ok = event.type === "test:pass";
    const why = failureOf(ok, event.data);
    if (why !== undefined) failures.push(describeFailure(event.data, file, root, why));
    else if (ok && isTest(event.data, file)) passed += 1;
  }
  if (passed === 0 && failures.length === 0) failures.push("no test in this file\n");
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const counts = failures.length === 0 ? `${passed} passed` : `${passed} passed, ${failures.length} failed`;
  const lines = [`${failures.length === 0 ? "ok  " : "FAIL"} ${relative(root, file)}  ${counts}  ${seconds} s\n`];
  if (failures.length > 0) lines.push(...failures.map(indent));
  if (failures.length > 0 && output.trim() !== "") lines.push(indent(`it printed:\n${output.trimEnd()}\n`));
  return { passed, failed: failures.length, text: lines.join("") };
}

/** Suites only hold tests, and the file as a whole counts by what is in it. */
function isTest({ name, details }: TestResult, file: string): boolean {
  return details.type !== "suite" && name !== file;
}

/** Why it counts as a failure; undefined where it does not, or where those inside it say it already. */
function failureOf(ok: boolean, { skip, todo, details: { error } }: TestResult): string | undefined {
  if (isMarked(skip)) return `skipped${reason(skip)}: tests may not be skipped`;
  if (isMarked(todo)) return `todo${reason(todo)}: tests may not be left open`;
  if (ok || error?.failureType === "subtestsFailed") return undefined;
  if (error?.failureType === "testAborted") return "took too long, and was ended";
  if (typeof error?.signal === "string") return `killed by ${error.signal}`;
  if (typeof error?.exitCode === "number") return `ended with exit status ${error.exitCode}`;
  return describeError(error?.cause ?? error?.message);
}

function isMarked(mark: string | boolean | undefined): boolean {
  return mark !== undefined && mark !== false;
}

function reason(mark: string | boolean | undefined): string {
  return typeof mark === "string" && mark !== "" ? ` (${mark})` : "";
}

function describeFailure({ name, line, file: where }: TestResult, file: string, root: string, why: string): string {
  const place = where === undefined || line === undefined ? "" : `${relative(root, where)}:${line}`;
  return name === file ? `the file itself: ${why}\n` : `${name}  (${place})\n${indent(`${why}\n`)}`;
}

/** The stack without Node's own frames, the error's fields (code, hint, path …) and its cause. */
function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = (error.stack ?? error.message).split("\n").filter((line) => !/^\s+at .*\bnode:/.test(line));
  const cause = error.cause === undefined ? [] : [`cause: ${describeError(error.cause)}`];
  return [...stack, ...describeFields(error, stack.join("\n")), ...cause].join("\n");
}

/** What the message says already is left out, and so is what would fill pages. */
function describeFields(error: Error, shown: string): string[] {
  if ("code" in error && error.code === "ERR_ASSERTION") return [];
  return Object.entries(error).flatMap(([name, value]: [string, unknown]) => {
    if ((typeof value !== "string" && typeof value !== "number") || shown.includes(`${value}`)) return [];
    return [`  ${name}: ${`${value}`.slice(0, 300)}`];
  });
}

function lastLines(text: string): string {
  return text.split("\n").slice(-outputLines).join("\n");
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, "    ");
}
