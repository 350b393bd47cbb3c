import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, test, type TestContext } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { openProgressFd } from "#cli/progress-fd.ts";
import { shellFakeProgram, startFakeProgram } from "./run-fake-program.ts";

interface Event {
  readonly type: string;
  readonly task?: string;
  readonly bytes?: number;
  readonly steps?: number;
}

function eventsOf(lines: string): Event[] {
  assert.ok(lines === "" || lines.endsWith("\n"), "the last line is cut");
  return lines
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Event);
}

/** What the verb `progresses` reports: its hundred and one amounts come within a moment. */
const milestones = [
  ["Start", undefined],
  ["pulling", 0],
  ["pulling", 100],
  ...[0, 1, 2, 3].map((steps) => ["staging", steps]),
];

function summary(events: readonly Event[]): unknown[] {
  return events.map(({ type, task, bytes, steps }) => [task ?? type, bytes ?? steps]);
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "onehold-progress-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function shell(command: string, ...args: readonly string[]) {
  return shellFakeProgram(command, "image", "pull", "--progress-fd", "3", ...args);
}

describe("--progress-fd", { concurrency: 2 }, () => {
  test("a socket gets the events, from Start to the last", async () => {
    const { child, outcome } = startFakeProgram(["image", "pull", "--progress-fd", "3", "progresses"], ["pipe"]);
    const events = eventsOf(await text(child.stdio[3] as Readable));
    assert.equal((await outcome).status, 0);
    assert.deepEqual(summary(events), milestones);
  });

  test("a pipe gets them, also with --quiet", () => {
    const { status, stdout, stderr } = shell('{ "$@" 3>&1 >/dev/null; } | cat', "progresses", "--quiet");
    assert.deepEqual([status, stderr], [0, ""]);
    assert.deepEqual(summary(eventsOf(stdout)), milestones);
  });

  test("a file gets them", async (t) => {
    const path = join(temporaryFolder(t), "progress.jsonl");
    const fd = openSync(path, "w");
    const { outcome } = startFakeProgram(
      ["image", "pull", "--progress-fd", "5", "progresses"],
      ["ignore", "ignore", fd],
    );
    closeSync(fd);
    assert.equal((await outcome).status, 0);
    assert.deepEqual(summary(eventsOf(readFileSync(path, "utf8"))), milestones);
  });

  test("a verb that reports nothing still says Start", () => {
    const { stdout } = shell('{ "$@" 3>&1 >/dev/null 2>&1; } | cat', "fails");
    assert.deepEqual(summary(eventsOf(stdout)), [["Start", undefined]]);
  });

  test("a reader that is gone does not stop the operation", () => {
    const { status, stderr } = shell('"$@" 3> >(true)', "progresses-much");
    assert.equal(status, 0);
    assert.doesNotMatch(stderr, /error/);
  });

  test("a reader that never reads does not either", (t) => {
    const fifo = join(temporaryFolder(t), "fifo");
    const { status, stderr } = shell(`mkfifo ${fifo}; exec 4<>${fifo}; "$@" 3>${fifo} 4>&-`, "progresses-much");
    assert.equal(status, 0, stderr);
  });

  test("a reader that begins late gets every milestone", async () => {
    const running = startFakeProgram(["image", "pull", "--progress-fd", "3", "progresses-much"], ["pipe"]);
    // A hundred milestones of some 15 kB each: much more than the socket holds.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const events = eventsOf(await text(running.child.stdio[3] as Readable));
    assert.equal((await running.outcome).status, 0);
    const steps = new Set(events.slice(1).map((event) => event.steps));
    assert.deepEqual([...steps], [...Array(101).keys()]);
    assert.equal(events.at(-1)?.bytes, 100_200);
  });

  test("a file that takes no more does not stop the operation", (t) => {
    const fd = openSync(join(temporaryFolder(t), "progress.jsonl"), "w");
    const sink = openProgressFd(fd);
    closeSync(fd);
    assert.equal(sink.write("a line\n", true), true);
  });
});

describe("wrong usage: a descriptor", () => {
  function refusal(fd: number): string {
    try {
      openProgressFd(fd);
    } catch (error) {
      assert.ok(error instanceof OneholdError && error.code === "usage");
      return error.message;
    }
    assert.fail("it was taken");
  }

  function opened(t: TestContext, path: string, flags: string): number {
    const fd = openSync(path, flags);
    t.after(() => closeSync(fd));
    return fd;
  }

  test("that is not open", () => assert.match(refusal(999), /descriptor 999: it is not open$/));
  test("that is a directory", (t) => assert.match(refusal(opened(t, "/", "r")), /is no pipe, FIFO, socket or file$/));
  test("that is a device", (t) => assert.match(refusal(opened(t, "/dev/null", "w")), /is no pipe/));
  test("that is only read", (t) => assert.match(refusal(opened(t, "/etc/passwd", "r")), /is open for reading only$/));

  test("that is one of Node's own pipes", () => {
    const pipes = readdirSync("/proc/self/fd").flatMap((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith("pipe:") && Number(fd) > 2 ? [Number(fd)] : [];
      } catch {
        return [];
      }
    });
    const writable = pipes.filter((fd) => /^flags:.*1$/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")));
    assert.ok(writable.length > 0);
    assert.ok(writable.some((fd) => refusal(fd).endsWith("itself holds the pipe's other end")));
  });

  test("ends the program before the verb begins", () => {
    const { status, stdout, stderr } = shell('"$@"', "progresses");
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^error: can't write progress to descriptor 3: .*\nhint: .*3>progress\.jsonl/);
  });
});
