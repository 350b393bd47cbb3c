import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError } from "./system-error.ts";

export interface StartOptions {
  /** The whole environment of the program, not an addition to ours. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Written to its stdin; without it stdin is /dev/null. */
  readonly input?: Buffer;
  /** A descriptor of ours that the program gets as its descriptor 3. */
  readonly stdio3?: number;
  /** Descriptors of ours by the number that they get in the program, from 3. */
  readonly extraFds?: Readonly<Record<number, number>>;
  /** Ends the program and all of its group: SIGTERM, and SIGKILL after five seconds. */
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** What it throws ends the program, and is what the caller gets. */
  readonly onStderr?: (chunk: Buffer) => void;
}

export interface RunOptions extends StartOptions {
  /** Gets stdout as it comes: nothing of it is kept then, and `maxOutput` does not apply. */
  readonly onStdout?: (chunk: Buffer) => void;
  /** In bytes of stdout, 64 MiB by default. A program that prints more is ended, and has failed. */
  readonly maxOutput?: number;
}

export interface Finished {
  readonly stdout: Buffer;
  /** Its end: the last 64 KiB and a little more. */
  readonly stderr: Buffer;
  readonly durationMs: number;
}

/** Disposing of it ends the program where it still runs, and waits for that. */
export interface RunningChild extends AsyncDisposable {
  /** Undefined where it could not be started; `finished` tells why. */
  readonly pid: number | undefined;
  /** To be read to its end by the caller: the program counts as finished only then. */
  readonly stdout: Readable;
  /** Consumed already: a listener sees it as well. */
  readonly stderr: Readable;
  /** Rejects as `run` does; its `stdout` is empty. */
  readonly finished: Promise<Finished>;
  /** Sends a signal, SIGTERM by default, to the program and its group. */
  kill(signal?: NodeJS.Signals): void;
}

/** A program ran and failed. What that means depends on the program: see `exitCode` and `stderr`. */
export class ProgramError extends OneholdError {
  override readonly name = "ProgramError";
  /** Undefined where a signal, or we, ended it. */
  readonly exitCode: number | undefined;
  readonly stderr: string;

  constructor(program: string, reason: string, exitCode: number | undefined, stderr: Buffer) {
    const text = stderr.toString("utf8");
    const end = lastLines(text);
    super("program-failed", `${program} ${reason}${end === "" ? "" : `: ${end}`}`, { subject: program });
    this.exitCode = exitCode;
    this.stderr = text;
  }
}

/**
 * Runs a program to its end. Throws "program-missing"; ProgramError ("program-failed": an exit status other
 * than 0, a signal, `timeoutMs`, `maxOutput`); "interrupted" when `signal` aborts; SystemError where it could
 * not be started at all.
 *
 * The program dies with this process, even with one that is killed: setpriv asks the kernel for that.
 */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { onStdout, maxOutput = 64 * 1024 * 1024, ...startOptions } = options;
  const child = new Child(program, args, startOptions, true);
  const chunks: Buffer[] = [];
  let length = 0;
  child.consume(child.stdout, (chunk) => {
    if (onStdout !== undefined) return onStdout(chunk);
    length += chunk.length;
    if (length <= maxOutput) chunks.push(chunk);
    else child.stop(() => child.failure(`printed more than ${maxOutput} bytes`));
  });
  const finished = await child.finished;
  return { ...finished, stdout: Buffer.concat(chunks) };
}

/**
 * Starts a program whose stdout the caller reads while it runs. Throws "program-missing" at once; every
 * other failure comes by `finished`.
 */
export function start(program: string, args: readonly string[], options: StartOptions = {}): RunningChild {
  return new Child(program, args, options, false);
}

/** Where a program is, by PATH; undefined where it is not installed. A name with a slash is taken as a path. */
export function findProgram(name: string, searchPath = process.env["PATH"]): string | undefined {
  if (name.includes("/")) return isExecutable(name) ? name : undefined;
  // A relative element would let the current directory decide what runs as root.
  return (searchPath ?? defaultSearchPath)
    .split(":")
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

const defaultSearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const stderrKept = 64 * 1024;
/** From SIGTERM to SIGKILL, and from a program's good end to that of the last process that holds its stdout. */
const patienceMs = 5000;
/** The latter where we have ended the program: nobody waits for its output. */
const shortPatienceMs = 1000;

class Child implements RunningChild {
  readonly pid: number | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly finished: Promise<Finished>;
  readonly #program: string;
  readonly #process: ChildProcess;
  readonly #stderrTail: Buffer[] = [];
  /** Makes the error to fail with, where we ended the program. */
  #stopped: (() => unknown) | undefined;
  #state: "running" | "exited" | "closed" = "running";
  #killTimer: NodeJS.Timeout | undefined;

  constructor(program: string, args: readonly string[], options: StartOptions, readsAll: boolean) {
    const { env, cwd, input, signal, timeoutMs, onStderr } = options;
    if (signal?.aborted === true) throw interrupted(program, signal);
    const path = requireProgram(program, env?.["PATH"]);
    this.#program = program;
    this.#process = spawn(requireProgram("setpriv"), ["--pdeathsig", "KILL", "--", path, ...args], {
      ...(env === undefined ? {} : { env }),
      ...(cwd === undefined ? {} : { cwd }),
      stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe", ...extraStdio(options)],
      // A process group of its own, so that a signal reaches the program's children too.
      detached: true,
    });
    this.pid = this.#process.pid;
    this.stdout = this.#process.stdout ?? Readable.from([]);
    this.stderr = this.#process.stderr ?? Readable.from([]);
    this.finished = this.#finish(performance.now(), readsAll, signal, timeoutMs);
    // Who has thrown while reading stdout need not ask how the program ended.
    this.finished.catch(() => {});
    this.consume(this.stderr, (chunk) => {
      keepTail(this.#stderrTail, chunk, stderrKept);
      onStderr?.(chunk);
    });
    // A program need not read all of its input, or any.
    this.#process.stdin?.on("error", () => {}).end(input);
  }

  async #finish(
    started: number,
    readsAll: boolean,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): Promise<Finished> {
    const abort = () => this.stop(() => interrupted(this.#program, signal));
    const expire = () => this.stop(() => this.failure(`did not end within ${(timeoutMs ?? 0) / 1000} s`));
    const timer = timeoutMs === undefined ? undefined : setTimeout(expire, timeoutMs);
    signal?.addEventListener("abort", abort);
    this.#process.once("exit", () => {
      this.#state = "exited";
      // Its children may go on and keep stdout open. We wait for them, but not forever.
      if (this.#stopped !== undefined) this.#killAfter(shortPatienceMs);
      else if (readsAll) this.#killAfter(patienceMs);
    });
    try {
      const { code, killedBy } = await endOf(this.#process);
      if (this.#stopped !== undefined) throw this.#stopped();
      if (code !== 0)
        throw this.failure(killedBy === null ? `ended with exit status ${code}` : `was killed by ${killedBy}`, code);
      return {
        stdout: Buffer.alloc(0),
        stderr: Buffer.concat(this.#stderrTail),
        durationMs: performance.now() - started,
      };
    } finally {
      this.#state = "closed";
      clearTimeout(timer);
      clearTimeout(this.#killTimer);
      signal?.removeEventListener("abort", abort);
    }
  }

  consume(stream: Readable, use: (chunk: Buffer) => void): void {
    stream.on("data", (chunk: Buffer) => {
      try {
        use(chunk);
      } catch (error) {
        this.stop(() => error);
      }
    });
  }

  stop(reason: () => unknown): void {
    if (this.#stopped !== undefined || this.#state === "closed") return;
    this.#stopped = reason;
    this.kill("SIGTERM");
    this.#killAfter(this.#state === "running" ? patienceMs : shortPatienceMs);
  }

  failure(reason: string, exitCode?: number | null): ProgramError {
    return new ProgramError(this.#program, reason, exitCode ?? undefined, Buffer.concat(this.#stderrTail));
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    // Once all is over, the number may be another group's.
    if (this.pid === undefined || this.#state === "closed") return;
    try {
      process.kill(-this.pid, signal);
    } catch (error) {
      if (!isErrno(error, "ESRCH")) throw toSystemError(error);
    }
  }

  #killAfter(ms: number): void {
    clearTimeout(this.#killTimer);
    this.#killTimer = setTimeout(() => {
      this.kill("SIGKILL");
      if (this.#state === "running") return;
      this.stdout.destroy();
      this.stderr.destroy();
    }, ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop(() => this.failure("was not needed any more"));
    this.stdout.resume();
    await this.finished.catch(() => {});
  }
}

/** Resolves when the program has ended and its output is read to the end. */
function endOf(child: ChildProcess): Promise<{ code: number | null; killedBy: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(toSystemError(error)));
    child.once("close", (code, killedBy) => resolve({ code, killedBy }));
  });
}

/** As `findProgram`; throws "program-missing". */
export function requireProgram(name: string, searchPath?: string): string {
  const found = findProgram(name, searchPath);
  if (found !== undefined) return found;
  throw new OneholdError("program-missing", `${name} is not installed (not found in PATH)`, {
    subject: name,
    hint: `Install the package that has the program ${name}.`,
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function extraStdio(options: StartOptions): (number | "ignore")[] {
  const fds = new Map(Object.entries(options.extraFds ?? {}).map(([theirs, ours]) => [Number(theirs), ours]));
  if (options.stdio3 !== undefined) fds.set(3, options.stdio3);
  const highest = Math.max(2, ...fds.keys());
  return Array.from({ length: highest - 2 }, (_, index) => fds.get(index + 3) ?? "ignore");
}

function keepTail(chunks: Buffer[], chunk: Buffer, limit: number): void {
  chunks.push(chunk);
  let length = chunks.reduce((sum, kept) => sum + kept.length, 0);
  while (chunks.length > 1 && length - (chunks[0]?.length ?? 0) >= limit) length -= chunks.shift()?.length ?? 0;
}

/** For an error message: what a program says last is mostly why it failed. */
function lastLines(text: string): string {
  // oxlint-disable-next-line no-control-regex -- what a registry sends must not steer the user's terminal
  const lines = text.split(/[\r\n]+/).map((line) => line.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim());
  return lines
    .filter((line) => line !== "")
    .slice(-3)
    .join("\n")
    .slice(-1000);
}

function interrupted(program: string, signal: AbortSignal | undefined): OneholdError {
  return new OneholdError("interrupted", `${program} was interrupted`, { cause: signal?.reason, subject: program });
}
