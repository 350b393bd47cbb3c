import { resolve } from "node:path";
import type { VerbContext } from "./context.ts";
import { renderError, statusOfError } from "./errors.ts";
import { catchSignals, type Interruption, uninterrupted } from "./interruption.ts";
import type { CommonOptions } from "./options.ts";
import { renderOutput } from "./output.ts";
import { chooseReporter } from "./progress.ts";
import type { Reporter } from "./reporter.ts";

/** A verb of the command line, ready to run. */
export interface Execution {
  /** As the user writes it: `onehold image pull`. */
  readonly verb: string;
  /** A verb that only reads has nothing to clear up when it is stopped, and its result is what was asked for. */
  readonly kind: "reads" | "writes";
  readonly common: CommonOptions;
  readonly run: (context: VerbContext) => Promise<number>;
}

/** Runs a verb with its progress, output and signals; whatever it throws becomes a message and an exit status. */
export async function execute(execution: Execution): Promise<number> {
  const { common, kind, verb } = execution;
  // Where nobody reads messages any more, the work goes on.
  process.stderr.on("error", () => {});
  let reporter: Reporter;
  try {
    reporter = chooseReporter({ quiet: common.quiet, progressFd: common.progressFd });
  } catch (error) {
    process.stderr.write(renderError(error, verb));
    return statusOfError(error, undefined);
  }
  const notice = (level: "info" | "warning", text: string): void => reporter.report({ kind: "notice", level, text });
  using interruption =
    kind === "reads" ? uninterrupted() : catchSignals(() => notice("info", "Stopping; a second time ends it at once."));
  try {
    return await execution.run(contextOf(execution, reporter, interruption));
  } catch (thrown) {
    const error: unknown = interruption.signal.aborted && isAbort(thrown) ? interruption.signal.reason : thrown;
    reporter.settle();
    process.stderr.write(renderError(error, verb));
    return statusOfError(error, interruption.stoppedBy());
  } finally {
    await reporter.close();
  }
}

function contextOf({ common, kind }: Execution, reporter: Reporter, interruption: Interruption): VerbContext {
  const format = common.json ? "json" : common.format;
  const silent = common.quiet && kind === "writes" && (format === "humanreadable" || format === "table");
  return {
    sysroot: resolve(common.sysroot),
    report: reporter.report,
    signal: interruption.signal,
    print: (value, renderHuman) => {
      if (silent) return;
      reporter.settle();
      process.stdout.write(renderOutput(value, format, renderHuman));
    },
    write: (bytes) => {
      reporter.settle();
      process.stdout.write(bytes);
    },
    warn: (text) => reporter.report({ kind: "notice", level: "warning", text }),
    givenFds: common.progressFd === undefined ? [] : [common.progressFd],
    // In the bundle, workers/ is beside the file that holds this.
    workers: new URL(import.meta.url.endsWith(".ts") ? "../workers/" : "./workers/", import.meta.url),
  };
}

/** What Node's own functions throw when their signal aborts. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
