import type { ProgressEvent } from "#base/progress.ts";
import { progressBars } from "./progress-bars.ts";
import { openProgressFd } from "./progress-fd.ts";
import { progressJson } from "./progress-json.ts";
import { progressLines } from "./progress-lines.ts";
import type { Reporter } from "./reporter.ts";

export interface ReporterOptions {
  readonly quiet: boolean;
  readonly progressFd: number | undefined;
}

/**
 * The reporters that the command line asks for: bars on a terminal, lines elsewhere, nothing with `--quiet`;
 * and JSON Lines with `--progress-fd`, whatever people see.
 *
 * @throws OneholdError `usage` where the descriptor can't be written to.
 */
export function chooseReporter(options: ReporterOptions): Reporter {
  const programs = options.progressFd === undefined ? [] : [progressJson(openProgressFd(options.progressFd))];
  return combine([...(options.quiet ? [] : [forPeople()]), ...programs]);
}

function forPeople(): Reporter {
  const { stderr } = process;
  const write = (text: string): void => {
    stderr.write(text);
  };
  if (!stderr.isTTY || process.env["TERM"] === "dumb") return progressLines(write);
  // A serial console may not know its size.
  return progressBars({ write, size: () => ({ columns: stderr.columns || 80, rows: stderr.rows || 24 }) });
}

function combine(reporters: readonly Reporter[]): Reporter {
  return {
    report: (event: ProgressEvent) => {
      for (const reporter of reporters) reporter.report(event);
    },
    settle: () => {
      for (const reporter of reporters) reporter.settle();
    },
    close: async () => {
      for (const reporter of reporters) await reporter.close();
    },
  };
}
