import type { BytesProgress, ProgressEvent, StepsProgress } from "#base/progress.ts";
import { formatBytes, formatCount } from "#base/amounts.ts";
import { noticeText } from "./notice.ts";
import { printableLine } from "./printable.ts";
import { bytesSentence, bytesSummary, nounOf } from "./progress-frame.ts";
import {
  bytesInPlace,
  completedParts,
  isCached,
  isTaskComplete,
  partKey,
  shortId,
  speedometer,
  taskKey,
} from "./progress-measures.ts";
import { type Clock, monotonicClock, type Reporter } from "./reporter.ts";

const tickMs = 1_000;
const betweenAmountsMs = 5_000;
const longestSilenceMs = 30_000;

/**
 * Progress as lines for a log: when a task begins, a part of it ends or a step begins; the amount every five
 * seconds while it changes, and every half minute while it does not, so that a stalled pull shows as one.
 */
export function progressLines(write: (text: string) => void, clock: Clock = monotonicClock): Reporter {
  let current: CurrentTask | undefined;
  let saidAt = clock();
  let timer: NodeJS.Timeout | undefined;

  const say = (lines: readonly string[]): void => {
    if (lines.length === 0) return;
    saidAt = clock();
    write(lines.map((line) => `${line}\n`).join(""));
  };

  const sayAmount = (): void => {
    if (current === undefined || isTaskComplete(current.task)) return;
    // Asked each time, to see every change.
    const text = amountText(current, clock());
    const moved = positionOf(current.task) !== current.positionSaid;
    if (clock() - saidAt < (moved ? betweenAmountsMs : longestSilenceMs)) return;
    current.positionSaid = positionOf(current.task);
    say([`${titleOf(current.task)}: ${moved ? "" : "still "}${text}`]);
  };

  const settle = (): void => {
    clearInterval(timer);
    timer = undefined;
    current = undefined;
  };

  const report = (event: ProgressEvent): void => {
    if (event.kind === "notice") {
      say([noticeText(event)]);
      return;
    }
    const key = taskKey(event);
    if (current?.key !== key) {
      settle();
      current = {
        key,
        task: event,
        startedAt: clock(),
        measure: speedometer(clock()),
        positionSaid: positionOf(event),
      };
      timer = setInterval(sayAmount, tickMs).unref();
      say([beginning(event), ...ending(undefined, event, 0)]);
      return;
    }
    const previous = current.task;
    current.task = event;
    say([...changes(previous, event), ...ending(previous, event, clock() - current.startedAt)]);
    sayAmount();
  };

  return { report, settle, close: async () => settle() };
}

type Task = BytesProgress | StepsProgress;

interface CurrentTask {
  readonly key: string;
  readonly startedAt: number;
  readonly measure: ReturnType<typeof speedometer>;
  task: Task;
  positionSaid: number;
}

function amountText({ task, measure }: CurrentTask, now: number): string {
  return task.kind === "steps" ? stepText(task) : bytesSentence(task, measure(task, now));
}

/** What has to change for another line. A new step has had one of its own. */
function positionOf(task: Task): number {
  return task.kind === "steps" ? 0 : bytesInPlace(task);
}

function titleOf(task: Task): string {
  return printableLine(task.description || task.id);
}

function beginning(task: Task): string {
  if (task.kind === "steps") return `${titleOf(task)}: ${stepText(task)}`;
  const count = task.stepsTotal || task.parts.length;
  const parts = task.parts.length > 0 ? [formatCount(count, nounOf(task.parts[0]?.part ?? "part"))] : [];
  const total = task.bytesTotal > 0 ? [`${task.estimated ? "about " : ""}${formatBytes(task.bytesTotal)}`] : [];
  const cached = task.bytesCached > 0 ? [`${formatBytes(task.bytesCached)} of it cached`] : [];
  return `${titleOf(task)}${parts.length + total.length > 0 ? ": " : ""}${[...parts, ...total, ...cached].join(", ")}`;
}

/** The parts that ended, or the step that began, between two events of a task. */
function changes(previous: Task, task: Task): string[] {
  if (task.kind === "steps") {
    const text = stepText(task);
    const began = !isTaskComplete(task) && (previous.kind !== "steps" || stepText(previous) !== text);
    return began ? [`${titleOf(task)}: ${text}`] : [];
  }
  const before = completedParts(previous);
  const now = completedParts(task);
  return task.parts
    .filter((part) => now.has(partKey(part)) && !before.has(partKey(part)))
    .map((part) => {
      const how = isCached(part) ? "cached" : "done";
      return `${nounOf(part.part)} ${printableLine(shortId(part.id))}: ${how}, ${formatBytes(part.bytesTotal)}`;
    });
}

function ending(previous: Task | undefined, task: Task, elapsed: number): string[] {
  if (!isTaskComplete(task) || (previous !== undefined && isTaskComplete(previous))) return [];
  return [`${titleOf(task)}: done${task.kind === "bytes" ? `, ${bytesSummary(task, elapsed)}` : ""}`];
}

/** `2/3 deploying`: the step that runs, counted from 1. */
function stepText(task: StepsProgress): string {
  const running = task.parts.find((part) => !part.completed);
  const number = Math.min(task.steps + 1, task.stepsTotal);
  return `${number}/${task.stepsTotal}${running === undefined ? "" : ` ${printableLine(running.description || running.id)}`}`;
}
