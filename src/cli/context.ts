import type { ReportProgress } from "#base/progress.ts";

/** What every verb is given beside its own options. */
export interface VerbContext {
  /** The sysroot as an absolute path. It need not exist. */
  readonly sysroot: string;
  readonly report: ReportProgress;
  /** Aborted by Ctrl-C and SIGTERM, with the error to throw as its reason. Never for a verb that only reads: those end at once. */
  readonly signal: AbortSignal;
  /**
   * Prints the verb's result in the format that the user chose: `value` as JSON or YAML, or what `renderHuman`
   * makes of it. `--quiet` keeps the text of verbs that change something back.
   */
  readonly print: <T>(value: T, renderHuman: (value: T) => string) => void;
  /** Prints bytes as they are, for a verb whose result has one form only: nothing is shown in another way, or kept back. */
  readonly write: (bytes: Uint8Array | string) => void;
  /** One line for the user, on stderr. */
  readonly warn: (text: string) => void;
  /** Descriptors that the caller gave beside stdio: a verb that starts its process again must keep them. */
  readonly givenFds: readonly number[];
  /** The folder with the entry points of worker threads. */
  readonly workers: URL;
}
