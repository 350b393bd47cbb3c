import type { BytesProgress, ProgressPart, StepsProgress } from "#base/progress.ts";
import { formatBytes, formatCount, formatCountdown, formatDuration, formatRate } from "#base/amounts.ts";
import { cut, printableLine } from "./printable.ts";
import { bar, layout, line, type Widths } from "./progress-layout.ts";
import { bytesInPlace, isCached, isComplete, type Speed, shortId } from "./progress-measures.ts";

/** The size of the terminal, in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/**
 * A task counted in bytes as lines for a terminal: what it is, a bar for each part, a bar for the total.
 * Always narrower than the screen (a full line may wrap) and lower (what scrolls away can't be redrawn).
 */
export function bytesFrame(task: BytesProgress, speed: Speed, size: ScreenSize): string[] {
  const width = size.columns - 1;
  const height = size.rows - 1;
  const widths = layout(task, width);
  const noun = nounOf(task.parts[0]?.part ?? "part");
  const counted = task.stepsTotal > 0 ? `  ${task.steps}/${formatCount(task.stepsTotal, noun)}` : "";
  const { shown, summary } = choose(task.parts, height - 2, partState);
  const lines = [
    heading(task.description || task.id, counted, width),
    ...summary,
    ...shown.map((part) => partLine(part, widths, task.estimated)),
    totalLine(task, speed, widths),
  ];
  return fit(lines, lines.slice(-1), width, height);
}

/** A task of named steps as a checklist for a terminal, within the same bounds. */
export function stepsFrame(task: StepsProgress, size: ScreenSize): string[] {
  const width = size.columns - 1;
  const height = size.rows - 1;
  const running = task.parts.find((part) => !part.completed);
  const stateOf = (part: StepsProgress["parts"][number]): PartState =>
    part.completed ? "done" : part === running ? "running" : "waiting";
  const mark = { done: "x", cached: "x", running: ">", waiting: " " };
  const { shown, summary } = choose(task.parts, height - 1, stateOf);
  const lines = [
    heading(task.description || task.id, `  ${task.steps}/${task.stepsTotal}`, width),
    ...summary,
    ...shown.map((part) => `  [${mark[stateOf(part)]}] ${printableLine(part.description || part.id)}`),
  ];
  return fit(lines, lines.slice(0, 1), width, height);
}

/** `120.3 MB of 200.0 MB (60 %), 12.3 MB/s, 8s left`, for where there are no bars. */
export function bytesSentence(task: BytesProgress, speed: Speed): string {
  const about = task.estimated ? "about " : "";
  const total = task.bytesTotal > 0 ? ` of ${formatBytes(task.bytesTotal)} (${percent(task)} %)` : "";
  const rate = speed.rate === undefined ? "" : `, ${formatRate(speed.rate)}`;
  const left = speed.remaining === undefined ? "" : `, ${formatCountdown(speed.remaining)} left`;
  return `${about}${formatBytes(bytesInPlace(task))}${total}${rate}${left}`;
}

/** `412.3 MB in 12 s (34.2 MB/s), 52.1 MB of it cached`, once a task is done. */
export function bytesSummary(task: BytesProgress, elapsed: number): string {
  const about = task.estimated ? "about " : "";
  const fetched = Math.max(0, bytesInPlace(task) - task.bytesCached);
  const rate = elapsed >= 1000 && fetched > 0 ? ` (${formatRate((fetched * 1000) / elapsed)})` : "";
  const cached = task.bytesCached > 0 ? `, ${formatBytes(task.bytesCached)} of it cached` : "";
  return `${about}${formatBytes(bytesInPlace(task))} in ${formatDuration(elapsed)}${rate}${cached}`;
}

/** A part's kind as a noun for people: `ostree_chunk` becomes `ostree chunk`. */
export function nounOf(part: string): string {
  return printableLine(part.replaceAll("_", " "));
}

type PartState = "running" | "waiting" | "done" | "cached";

const interest: Record<PartState, number> = { running: 0, waiting: 1, done: 2, cached: 3 };

function partState(part: ProgressPart): PartState {
  if (isCached(part)) return "cached";
  if (isComplete(part)) return "done";
  return bytesInPlace(part) > 0 ? "running" : "waiting";
}

/** Where there are more parts than lines: those that run, then those that wait; one line sums up all others. */
function choose<Part>(
  parts: readonly Part[],
  lines: number,
  stateOf: (part: Part) => PartState,
): { shown: readonly Part[]; summary: readonly string[] } {
  if (parts.length <= lines) return { shown: parts, summary: [] };
  const byInterest = parts.toSorted((a, b) => interest[stateOf(a)] - interest[stateOf(b)]);
  const chosen = new Set(byInterest.slice(0, Math.max(0, lines - 1)));
  const others = Object.groupBy(
    parts.filter((part) => !chosen.has(part)),
    stateOf,
  );
  const counts = (["done", "cached", "running", "waiting"] as const).flatMap((state) =>
    others[state] === undefined ? [] : [`${others[state].length} ${state}`],
  );
  return { shown: parts.filter((part) => chosen.has(part)), summary: [`  … ${counts.join(", ")}`] };
}

function partLine(part: ProgressPart, widths: Widths, estimated: boolean): string {
  const state = partState(part);
  const named = { id: shortId(part.id), description: part.description };
  const total = part.bytesTotal > 0 ? formatBytes(part.bytesTotal) : "";
  if (state !== "running") {
    const cells = widths.bar > 0 ? { bar: state } : { percent: state === "waiting" ? "" : "100%" };
    return line({ ...named, ...cells, amounts: total }, widths);
  }
  return line({ ...named, ...gauge(part, widths, estimated) }, widths);
}

function totalLine(task: BytesProgress, speed: Speed, widths: Widths): string {
  if (isComplete(task)) return `  ${"total".padEnd(widths.id)}  ${bytesSummary(task, speed.elapsed)}`;
  const rate = speed.rate === undefined ? "" : formatRate(speed.rate);
  const countdown = speed.remaining === undefined ? "" : `ETA ${formatCountdown(speed.remaining)}`;
  return line({ id: "total", ...gauge(task, widths, task.estimated), rate, countdown }, widths);
}

function gauge(
  amounts: Pick<ProgressPart, "bytes" | "bytesCached" | "bytesTotal">,
  widths: Widths,
  estimated: boolean,
): { bar: string; percent: string; amounts: string } {
  const about = estimated ? "~" : "";
  const inPlace = bytesInPlace(amounts);
  if (amounts.bytesTotal <= 0) return { bar: "", percent: "", amounts: `${about}${formatBytes(inPlace)}` };
  return {
    bar: bar(inPlace / amounts.bytesTotal, widths.bar),
    percent: `${percent(amounts)}%`,
    amounts: `${about}${formatBytes(Math.min(inPlace, amounts.bytesTotal))}/${formatBytes(amounts.bytesTotal)}`,
  };
}

/** Whole per cent, rounded down: 100 means complete. */
function percent(amounts: Pick<ProgressPart, "bytes" | "bytesCached" | "bytesTotal">): number {
  return Math.min(100, Math.floor((bytesInPlace(amounts) / amounts.bytesTotal) * 100));
}

/** The count stays whole, the description gives way. */
function heading(description: string, count: string, width: number): string {
  return `${cut(printableLine(description), Math.max(8, width - count.length))}${count}`;
}

/** The lines, or on a screen that is too low for them the one that matters. */
function fit(lines: readonly string[], essence: readonly string[], width: number, height: number): string[] {
  return (lines.length <= height ? lines : essence).map((text) => cut(text, width));
}
