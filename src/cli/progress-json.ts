import type { BytesProgress, ProgressEvent, StepsProgress } from "#base/progress.ts";
import { bytesInPlace, completedParts, isTaskComplete, taskKey } from "./progress-measures.ts";
import { type Clock, monotonicClock, type Reporter } from "./reporter.ts";

/** Of bootc's progress protocol, which this follows (its schema: test/fixtures/schemas/bootc-progress-v0.schema.json). */
export const protocolVersion = "0.1.0";

/** Takes lines for a reader that may be slow. */
export interface LineSink {
  /** A line that is not `essential` is refused (false) where the reader lags behind. Never throws. */
  readonly write: (line: string, essential: boolean) => boolean;
  readonly close: () => Promise<void>;
}

const betweenEventsMs = 200;

/**
 * Progress as JSON Lines for programs, in the format of bootc's `--progress-fd`. At most five events a second,
 * but every milestone: the first and the last event of a task, and each that completes a part of it.
 * Notices are for people and have no place in the format.
 */
export function progressJson(sink: LineSink, clock: Clock = monotonicClock): Reporter {
  let previous: BytesProgress | StepsProgress | undefined;
  let pending: string | undefined;
  let started = false;
  let writtenAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const write = (line: string, essential: boolean): void => {
    clearTimeout(timer);
    timer = undefined;
    writtenAt = clock();
    pending = sink.write(line, essential) ? undefined : line;
  };

  /** Only with the first event: a program that replaces its process image before must not start twice. */
  const start = (): void => {
    if (started) return;
    started = true;
    sink.write(jsonLine({ type: "Start", version: protocolVersion }), true);
  };

  const flush = (essential: boolean): void => {
    if (pending !== undefined) write(pending, essential);
  };

  const report = (event: ProgressEvent): void => {
    if (event.kind === "notice") return;
    start();
    if (previous !== undefined && taskKey(previous) !== taskKey(event)) {
      flush(true);
      previous = undefined;
    }
    const milestone = isMilestone(previous, event);
    previous = event;
    const line = jsonLine(event.kind === "bytes" ? bytesObject(event) : stepsObject(event));
    const wait = writtenAt + betweenEventsMs - clock();
    if (milestone || wait <= 0) {
      write(line, milestone);
      return;
    }
    pending = line;
    timer ??= setTimeout(flush, wait, false).unref();
  };

  const settle = (): void => {
    flush(true);
    previous = undefined;
  };

  const close = async (): Promise<void> => {
    start();
    settle();
    await sink.close();
  };

  return { report, settle, close };
}

/** The first event of a task, and each that completes a step, a part or the whole of it. */
function isMilestone(
  previous: BytesProgress | StepsProgress | undefined,
  event: BytesProgress | StepsProgress,
): boolean {
  if (previous === undefined || previous.steps !== event.steps) return true;
  if (isTaskComplete(event) && !isTaskComplete(previous)) return true;
  return completedParts(event).difference(completedParts(previous)).size > 0;
}

function bytesObject(event: BytesProgress): object {
  return {
    type: "ProgressBytes",
    task: event.task,
    // The format has no field for it
    description: event.estimated ? `${event.description} (estimated)` : event.description,
    id: event.id,
    ...byteCounts(event),
    steps: count(event.steps),
    stepsCached: count(event.stepsCached),
    stepsTotal: count(event.stepsTotal),
    subtasks: event.parts.map((part) => ({
      subtask: part.part,
      description: part.description,
      id: part.id,
      ...byteCounts(part),
    })),
  };
}

function stepsObject(event: StepsProgress): object {
  return {
    type: "ProgressSteps",
    task: event.task,
    description: event.description,
    id: event.id,
    steps: count(event.steps),
    stepsCached: count(event.stepsCached),
    stepsTotal: count(event.stepsTotal),
    subtasks: event.parts.map((part) => ({
      subtask: part.part,
      description: part.description,
      id: part.id,
      completed: part.completed,
    })),
  };
}

/** A reader takes `bytes == bytesTotal` for "complete", so cached bytes count and an estimate stays within the total. */
function byteCounts(amounts: Pick<BytesProgress, "bytes" | "bytesCached" | "bytesTotal">): object {
  const total = count(amounts.bytesTotal);
  const inPlace = count(bytesInPlace(amounts));
  return {
    bytes: total > 0 ? Math.min(inPlace, total) : inPlace,
    bytesCached: count(amounts.bytesCached),
    bytesTotal: total,
  };
}

/** An unsigned integer, which is all that the format has for amounts. */
function count(value: number): number {
  return Number.isFinite(value) ? Math.max(0, Math.min(Number.MAX_SAFE_INTEGER, Math.trunc(value))) : 0;
}

/** Keys are sorted, as in bootc's output. */
function jsonLine(value: object): string {
  return `${JSON.stringify(value, sortKeys)}\n`;
}

function sortKeys(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
