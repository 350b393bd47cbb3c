import type { ReportProgress } from "#base/progress.ts";

/**
 * Where progress events end: bars, plain lines or JSON Lines. One task at a time: an event of another task
 * ends the one before.
 */
export interface Reporter {
  readonly report: ReportProgress;
  /** Completes what is on the screen, so that a result or an error can be printed below it. */
  readonly settle: () => void;
  /** Settles and gives back timers and descriptors; every milestone is written by then, if its reader reads. */
  readonly close: () => Promise<void>;
}

/** Milliseconds on a clock that only goes forward. */
export type Clock = () => number;

export const monotonicClock: Clock = () => performance.now();
