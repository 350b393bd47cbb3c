import type { BytesProgress, ProgressEvent, StepsProgress } from "#base/progress.ts";
import { noticeText } from "./notice.ts";
import { bytesFrame, type ScreenSize, stepsFrame } from "./progress-frame.ts";
import { speedometer, taskKey } from "./progress-measures.ts";
import { type Clock, monotonicClock, type Reporter } from "./reporter.ts";

/** What the bars need of a terminal. Writes are synchronous. */
export interface Terminal {
  readonly write: (text: string) => void;
  readonly size: () => ScreenSize;
}

const frameMs = 200;

const hideCursor = "\x1b[?25l";
const showCursor = "\x1b[?25h";
const eraseToEndOfLine = "\x1b[K";
const eraseToEndOfScreen = "\x1b[J";

/**
 * Draws tasks as bars and checklists at the bottom of a terminal, at most five times a second, and notices
 * above them. The cursor is hidden only within the single write of a frame, so that nothing has to be
 * restored however the program ends.
 */
export function progressBars(terminal: Terminal, clock: Clock = monotonicClock): Reporter {
  let current: CurrentTask | undefined;
  let drawn: { lines: readonly string[]; columns: number } = { lines: [], columns: 0 };
  let drawnAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const draw = (above: readonly string[] = []): void => {
    drawnAt = clock();
    const size = terminal.size();
    const lines = current === undefined ? [] : frameOf(current, drawnAt, size);
    const same = lines.length === drawn.lines.length && lines.every((text, index) => text === drawn.lines[index]);
    if (above.length === 0 && same && size.columns === drawn.columns) return;
    const text = [...above, ...lines].map((content) => `${content}${eraseToEndOfLine}\n`).join("");
    const start = toFirstLine(drawn.lines, size.columns);
    terminal.write(`${hideCursor}${start}${text}${eraseToEndOfScreen}${showCursor}`);
    drawn = { lines, columns: size.columns };
  };

  const settle = (): void => {
    clearInterval(timer);
    timer = undefined;
    if (current === undefined) return;
    draw();
    current = undefined;
    drawn = { lines: [], columns: 0 };
  };

  const report = (event: ProgressEvent): void => {
    if (event.kind === "notice") {
      draw(noticeText(event).split("\n"));
      return;
    }
    const key = taskKey(event);
    if (current?.key === key) {
      current.task = event;
      if (clock() - drawnAt >= frameMs) draw();
      return;
    }
    settle();
    current = { key, task: event, measure: speedometer(clock()) };
    draw();
    // Frames come without reports too: the rate of a stalled download must fall, and the terminal may be resized.
    timer = setInterval(draw, frameMs).unref();
  };

  return { report, settle, close: async () => settle() };
}

interface CurrentTask {
  readonly key: string;
  task: BytesProgress | StepsProgress;
  readonly measure: ReturnType<typeof speedometer>;
}

function frameOf({ task, measure }: CurrentTask, now: number, size: ScreenSize): string[] {
  return task.kind === "bytes" ? bytesFrame(task, measure(task, now), size) : stepsFrame(task, size);
}

/** Back to where the last frame began. A terminal that became narrower since has wrapped its lines. */
function toFirstLine(lines: readonly string[], columns: number): string {
  const rows = lines.reduce((sum, text) => sum + Math.max(1, Math.ceil(text.length / columns)), 0);
  return rows === 0 ? "\r" : `\r\x1b[${rows}A`;
}
