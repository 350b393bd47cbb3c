import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
}

const fakeProgram = fileURLToPath(new URL("./fake-program.ts", import.meta.url));

const env: NodeJS.ProcessEnv = {
  PATH: process.env["PATH"],
  NO_COLOR: "1",
  // It is started some hundred times; TypeScript's types are stripped once.
  NODE_COMPILE_CACHE: fileURLToPath(new URL("../../../.cache/compile", import.meta.url)),
};

const timeout = 60_000;

/** Starts fake-program.ts with these arguments; `more` are the descriptors that it is given from 3 on. */
export function startFakeProgram(args: readonly string[], more: readonly ("ignore" | "pipe" | number)[] = []): Running {
  const child = spawn(process.execPath, [fakeProgram, ...args], {
    stdio: ["ignore", "pipe", "pipe", ...more],
    env,
    // One that ignores a signal must fail its test, not hang it.
    timeout,
    killSignal: "SIGKILL",
  });
  const finish = async (): Promise<Outcome> => {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error("no pipes");
    const [out, err] = await Promise.all([text(stdout), text(stderr), once(child, "exit")]);
    return { stdout: out, stderr: err, status: child.exitCode, signal: child.signalCode };
  };
  return { child, outcome: finish() };
}

/** Runs a bash command line in which "$@" is the fake program with these arguments. */
export function shellFakeProgram(command: string, ...args: readonly string[]) {
  return spawnSync("bash", ["-c", command, "bash", process.execPath, fakeProgram, ...args], {
    encoding: "utf8",
    // A stdin that is a socket would make bash read the user's own start files.
    stdio: ["ignore", "pipe", "pipe"],
    env,
    timeout,
    killSignal: "SIGKILL",
  });
}

export function runFakeProgram(...args: readonly string[]): Promise<Outcome> {
  return startFakeProgram(args).outcome;
}

/** Once the verb has said that it is ready. */
export async function ready({ child }: Running): Promise<void> {
  const { stderr } = child;
  if (stderr === null) throw new Error("no pipe");
  let seen = "";
  stderr.on("data", (chunk) => {
    seen += String(chunk);
  });
  while (!seen.includes("ready\n")) await once(stderr, "data");
}
