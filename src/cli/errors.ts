import { OneholdError } from "#base/errors.ts";
import { paint } from "./paint.ts";
import { printable } from "./printable.ts";
import { version } from "./version.ts";

/** What the shell sees. Interrupted: 128 and the number of the signal, as shells count. */
export const exitStatus = { done: 0, failed: 1, usage: 2, interrupted: 130, terminated: 143 } as const;

export type StopSignal = "SIGINT" | "SIGTERM";

export function statusOfSignal(signal: StopSignal): number {
  return signal === "SIGTERM" ? exitStatus.terminated : exitStatus.interrupted;
}

/** The exit status for what a verb threw. `stoppedBy`: the signal that came before, if one did. */
export function statusOfError(error: unknown, stoppedBy: StopSignal | undefined): number {
  if (!(error instanceof OneholdError)) return exitStatus.failed;
  if (error.code === "interrupted") return statusOfSignal(stoppedBy ?? "SIGINT");
  return error.code === "usage" ? exitStatus.usage : exitStatus.failed;
}

/**
 * An error as text for stderr, ending in a newline: what failed and what to do about it. A stack trace only
 * for mistakes of the program itself. `verb` ("onehold image pull") says whose help a wrong usage points to.
 */
export function renderError(error: unknown, verb: string): string {
  if (!(error instanceof OneholdError) || error.code === "bug") return renderBug(error);
  const hint = error.hint ?? (error.code === "usage" ? `See '${verb} --help'.` : undefined);
  return `${line("red", "error:", error.message)}${hint === undefined ? "" : line("cyan", "hint:", hint)}`;
}

function renderBug(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const hint = `This is a bug in Onehold ${version}. Please report it with the lines above.`;
  return `${line("red", "error:", text)}${line("cyan", "hint:", hint)}`;
}

function line(colour: "red" | "cyan", label: string, text: string): string {
  return `${paint(colour, label)} ${printable(text).trimEnd()}\n`;
}
