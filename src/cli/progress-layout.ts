import type { BytesProgress } from "#base/progress.ts";
import { cut, printableLine } from "./printable.ts";
import { shortId } from "./progress-measures.ts";

/** The widths of the columns of a frame of bars, in characters; 0 for a column that has no room. */
export interface Widths {
  readonly id: number;
  readonly description: number;
  readonly bar: number;
  readonly percent: number;
  readonly amounts: number;
  readonly rate: number;
  readonly countdown: number;
}

export type Cells = { readonly [Column in keyof Widths]?: string };

const indent = "  ";
const gap = "  ";
const longestId = 20;
const shortestBar = 12;
const longestBar = 42;
/** A description is shown where at least this much of it can be. */
const shortestDescription = 16;
const longestDescription = 40;

/** The first to go where the terminal is narrow. */
const leastUseful = ["rate", "countdown", "bar", "amounts"] as const;

/** Columns for a task's bars that fill `width` and never exceed it (down to a width of 20). */
export function layout(task: BytesProgress, width: number): Widths {
  let widths: Widths = {
    id: longest(["total", ...task.parts.map((part) => shortId(part.id))], longestId),
    description: 0,
    bar: shortestBar,
    percent: 4,
    amounts: "~999.9 MB/999.9 MB".length,
    rate: "999.9 MB/s".length,
    countdown: "ETA 59m59s".length,
  };
  for (const column of leastUseful) {
    if (widthOf(widths) > width) widths = { ...widths, [column]: 0 };
  }
  if (widths.bar === 0) return widths;

  // One that only repeats what the line begins with is worth no column.
  const described = task.parts.filter(
    (part) => !part.description.includes(shortId(part.id)) && part.description !== part.part,
  );
  const wanted = longest(
    described.map((part) => part.description),
    longestDescription,
  );
  const room = width - widthOf(widths) - gap.length;
  const description = room >= Math.min(wanted, shortestDescription) ? Math.min(wanted, room) : 0;
  const rest = width - widthOf({ ...widths, description });
  return { ...widths, description, bar: Math.min(longestBar, widths.bar + rest) };
}

/** One line of a frame. Amounts and percentages are right-aligned; columns without room are left out. */
export function line(cells: Cells, widths: Widths): string {
  const columns = [
    left(cells.id, widths.id),
    left(cells.description, widths.description),
    left(cells.bar, widths.bar),
    right(cells.percent, widths.percent),
    right(cells.amounts, widths.amounts),
    right(cells.rate, widths.rate),
    left(cells.countdown, widths.countdown),
  ];
  return (indent + columns.filter((column) => column !== "").join(gap)).trimEnd();
}

/** `[=====>    ]`, `width` characters wide. */
export function bar(fraction: number, width: number): string {
  const inner = width - 2;
  if (inner < 1) return "";
  const filled = Math.max(0, Math.min(inner, Math.floor(fraction * inner)));
  const head = filled > 0 && filled < inner ? `${"=".repeat(filled - 1)}>` : "=".repeat(filled);
  return `[${head.padEnd(inner)}]`;
}

function widthOf(widths: Widths): number {
  const used = Object.values({ ...widths }).filter((width) => width > 0);
  return indent.length + used.reduce((sum, width) => sum + width, 0) + gap.length * (used.length - 1);
}

function longest(texts: readonly string[], limit: number): number {
  return Math.min(limit, Math.max(0, ...texts.map((text) => text.length)));
}

function left(text: string | undefined, width: number): string {
  return cut(printableLine(text ?? ""), width).padEnd(width);
}

function right(text: string | undefined, width: number): string {
  return cut(text ?? "", width).padStart(width);
}
