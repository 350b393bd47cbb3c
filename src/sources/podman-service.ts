import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OneholdError } from "#base/errors.ts";
import { start, type StartOptions } from "#linux/child.ts";
import { answers } from "./docker-pull.ts";
import { podmanArguments } from "./surroundings.ts";

/** A podman that answers on a socket, until it is disposed of. */
export interface PodmanService extends AsyncDisposable {
  readonly socketPath: string;
  /** Rejects when it ends, with its own words on why. */
  readonly failed: Promise<never>;
  /** What it has logged, or the end of it. */
  log(): string;
}

const startTimeoutMs = 90_000;
const logLimit = 64 * 1024;

/** Starts `podman system service` with a socket in a folder that nobody else sees. */
export async function startPodmanService(
  folder: string,
  options: StartOptions,
  signal: AbortSignal,
): Promise<PodmanService> {
  const socketPath = join(folder, `${randomUUID()}.sock`);
  await using cleanup = new AsyncDisposableStack();
  let log = "";
  const child = cleanup.use(
    start("podman", [...podmanArguments, "system", "service", "--time=0", `unix://${socketPath}`], {
      ...options,
      signal,
      onStderr: (chunk) => {
        log = (log + chunk.toString("utf8")).slice(-logLimit);
      },
    }),
  );
  child.stdout.resume();
  const failed = child.finished.then(() => {
    throw new OneholdError("program-failed", "podman's service ended before the pull did");
  });
  // Nobody may be waiting when it ends as it should, at disposal.
  failed.catch(() => {});
  await untilAnswered(socketPath, failed, signal);
  const owned = cleanup.move();
  return { socketPath, failed, log: () => log, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function untilAnswered(socketPath: string, failed: Promise<never>, signal: AbortSignal): Promise<void> {
  const end = performance.now() + startTimeoutMs;
  while (!(await Promise.race([failed, answers(socketPath, signal)]))) {
    if (performance.now() > end)
      throw new OneholdError("program-failed", `podman's service did not answer within ${startTimeoutMs / 1000} s`);
    await sleep(30, undefined, { signal });
  }
}
