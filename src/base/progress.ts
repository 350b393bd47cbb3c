/**
 * Progress of an operation, as typed events. Whoever does the work reports; the command line alone draws
 * bars or writes JSON Lines (the format of bootc's --progress-fd). Amounts are bytes unless said otherwise.
 */
export type ProgressEvent = BytesProgress | StepsProgress | Notice;

/** A task whose length is counted in bytes, with a bar for each part of it. */
export interface BytesProgress {
  readonly kind: "bytes";
  /** Machine readable: `pulling`, `importing`. */
  readonly task: string;
  /** What it works on: the image's name. */
  readonly id: string;
  readonly description: string;
  readonly bytes: number;
  /** Of `bytesTotal`, what was there before. */
  readonly bytesCached: number;
  /** 0 where it is not known. Never less than `bytes`. */
  readonly bytesTotal: number;
  readonly steps: number;
  readonly stepsCached: number;
  readonly stepsTotal: number;
  readonly parts: readonly ProgressPart[];
  /** True where `bytes` is derived from file sizes or the like and not counted. */
  readonly estimated: boolean;
}

export interface ProgressPart {
  /** Machine readable: `layer`. */
  readonly part: string;
  readonly id: string;
  readonly description: string;
  readonly bytes: number;
  readonly bytesCached: number;
  readonly bytesTotal: number;
}

/** A task that goes in a few named steps: `staging`. */
export interface StepsProgress {
  readonly kind: "steps";
  readonly task: string;
  readonly id: string;
  readonly description: string;
  readonly steps: number;
  readonly stepsCached: number;
  readonly stepsTotal: number;
  readonly parts: readonly { part: string; id: string; description: string; completed: boolean }[];
}

/** One line for the user while the work goes on: a warning, or why it waits. */
export interface Notice {
  readonly kind: "notice";
  readonly level: "info" | "warning";
  readonly text: string;
}

export type ReportProgress = (event: ProgressEvent) => void;
