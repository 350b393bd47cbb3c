import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
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

/** Starts fake-program.ts with these arguments; stdio beyond the third are descriptors that it is given. */
export function startFakeProgram(
  args: readonly string[],
  more: StdioOptions & readonly unknown[] = [],
  nodeArgs: readonly string[] = [],
): Running {
  const program = fileURLToPath(new URL("./fake-program.ts", import.meta.url));
  const child = spawn(process.execPath, [...nodeArgs, program, ...args], {
    stdio: ["ignore", "pipe", "pipe", ...more],
    env: { PATH: process.env["PATH"], NO_COLOR: "1" },
  });
  const finish = async (): Promise<Outcome> => {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error("no pipes");
    const [out, err, [status, signal]] = await Promise.all([text(stdout), text(stderr), once(child, "exit")]);
    return { stdout: out, stderr: err, status, signal };
  };
  return { child, outcome: finish() };
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
