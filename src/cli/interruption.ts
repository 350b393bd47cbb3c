import { OneholdError } from "#base/errors.ts";
import { type StopSignal, statusOfSignal } from "./errors.ts";

export interface Interruption extends Disposable {
  /** Aborts at the first signal; its reason is the OneholdError `interrupted` to throw. */
  readonly signal: AbortSignal;
  readonly stoppedBy: () => StopSignal | undefined;
}

/**
 * Turns the first Ctrl-C or SIGTERM into an abort, so that the operation can end its programs and leave
 * everything whole. The second one ends the process at once: the next run clears up, as after a kill.
 */
export function catchSignals(onFirst: () => void): Interruption {
  const controller = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const stop = (signal: StopSignal): void => {
    if (stoppedBy !== undefined) process.exit(statusOfSignal(signal));
    stoppedBy = signal;
    onFirst();
    controller.abort(new OneholdError("interrupted", `interrupted by ${signal === "SIGINT" ? "Ctrl-C" : signal}`));
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  return {
    signal: controller.signal,
    stoppedBy: () => stoppedBy,
    [Symbol.dispose]: () => void process.off("SIGINT", stop).off("SIGTERM", stop),
  };
}

/** Leaves signals to the kernel, which ends the process at once, even while it computes. */
export function uninterrupted(): Interruption {
  return { signal: new AbortController().signal, stoppedBy: () => undefined, [Symbol.dispose]: () => {} };
}
