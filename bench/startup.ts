/**
 * How long Onehold takes to start, against a Node.js that does nothing. The runs take turns, so that
 * whatever else the machine does falls on all alike.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { deployVersions, withSysroot } from "#fixtures/deployed-sysroot.ts";

export interface StartupFigure {
  readonly command: string;
  readonly minMs: number;
  readonly medianMs: number;
  /** Of the shortest runs and of the median ones, over those of `node -e 0`. */
  readonly minRatio: number;
  readonly medianRatio: number;
  /** The most that `medianRatio` may be. */
  readonly most: number;
}

interface Command {
  readonly command: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly most: number;
}

const launcher = join(import.meta.dirname, "../bin/onehold");
const ofOnehold = (what: string, args: readonly string[], most: number): Command => {
  return { command: `onehold ${what}`, program: launcher, args, most };
};
const nothing: Command = { command: "node -e 0", program: process.execPath, args: ["-e", "0"], most: 1 };

/** Of what loads nothing, and of `status` on a sysroot with three deployments. */
export async function measureStartup(rounds = 40): Promise<StartupFigure[]> {
  let figures: StartupFigure[] = [];
  await withSysroot("bookworm", async (sysroot) => {
    await deployVersions(sysroot, [1, 2, 3]);
    const status = ofOnehold("status", ["--sysroot", sysroot.path, "status"], 6);
    const commands = [ofOnehold("--version", ["--version"], 2.5), ofOnehold("--help", ["--help"], 2.5), status];
    figures = measure([nothing, ...commands], rounds);
  });
  return figures;
}

function measure(commands: readonly Command[], rounds: number): StartupFigure[] {
  // The first round fills the page cache and the compile cache.
  for (const { program, args } of commands) timeRun(program, args);
  const times = commands.map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { program, args }] of commands.entries()) times[index]?.push(timeRun(program, args));
  }
  const [empty = NaN] = times.map(shortest);
  const [emptyMedian = NaN] = times.map(median);
  return commands.map(({ command, most }, index) => {
    const minMs = shortest(times[index] ?? []);
    const medianMs = median(times[index] ?? []);
    return { command, minMs, medianMs, minRatio: minMs / empty, medianRatio: medianMs / emptyMedian, most };
  });
}

/** Milliseconds from the start of the program to its end. */
function timeRun(program: string, args: readonly string[]): number {
  const start = performance.now();
  const { status, error } = spawnSync(program, args, { stdio: "ignore" });
  const duration = performance.now() - start;
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}`, { cause: error });
  return duration;
}

function shortest(times: readonly number[]): number {
  return Math.min(...times);
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? NaN;
}

if (import.meta.main) {
  const figures = await measureStartup();
  for (const { command, minMs, medianMs, minRatio, medianRatio, most } of figures) {
    const ratios = `${minRatio.toFixed(2)} × and ${medianRatio.toFixed(2)} × node -e 0, at most ${most} ×`;
    console.log(`${command.padEnd(18)} min ${minMs.toFixed(1)} ms, median ${medianMs.toFixed(1)} ms: ${ratios}`);
  }
  process.exitCode = figures.every(({ medianRatio, most }) => medianRatio <= most) ? 0 : 1;
}
