/**
 * How long Onehold takes to start, against a Node.js that does nothing. The runs take turns, so that
 * whatever else the machine does falls on all alike.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** The most that `bin/onehold --version` and `--help` may take, as a multiple of `node -e 0`. */
export const startupTarget = 2.5;

export interface StartupFigure {
  readonly command: string;
  readonly minMs: number;
  readonly medianMs: number;
  /** Of the shortest runs and of the median ones, over those of `node -e 0`. */
  readonly minRatio: number;
  readonly medianRatio: number;
}

const launcher = join(import.meta.dirname, "../bin/onehold");
const commands = [
  { command: "node -e 0", program: process.execPath, args: ["-e", "0"] },
  { command: "onehold --version", program: launcher, args: ["--version"] },
  { command: "onehold --help", program: launcher, args: ["--help"] },
] as const;

export function measureStartup(rounds = 40): StartupFigure[] {
  // The first round fills the page cache and the compile cache.
  for (const { program, args } of commands) timeRun(program, args);
  const times = commands.map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { program, args }] of commands.entries()) times[index]?.push(timeRun(program, args));
  }
  const [empty = NaN] = times.map(shortest);
  const [emptyMedian = NaN] = times.map(median);
  return commands.map(({ command }, index) => {
    const minMs = shortest(times[index] ?? []);
    const medianMs = median(times[index] ?? []);
    return { command, minMs, medianMs, minRatio: minMs / empty, medianRatio: medianMs / emptyMedian };
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
  const figures = measureStartup();
  for (const { command, minMs, medianMs, minRatio, medianRatio } of figures) {
    const ratios = `${minRatio.toFixed(2)} × and ${medianRatio.toFixed(2)} × node -e 0`;
    console.log(`${command.padEnd(18)} min ${minMs.toFixed(1)} ms, median ${medianMs.toFixed(1)} ms: ${ratios}`);
  }
  const late = figures.filter(({ medianRatio }) => medianRatio > startupTarget);
  console.log(late.length === 0 ? `within ${startupTarget} ×` : `over ${startupTarget} ×`);
  process.exitCode = late.length === 0 ? 0 : 1;
}
