import { setTimeout as sleep } from "node:timers/promises";
import { formatReference, storedName } from "#image/reference.ts";
import { run, type StartOptions } from "#linux/child.ts";
import { imageIdFromDockerApi, PullRefused, type PullLine, pullThroughDockerApi } from "./docker-pull.ts";
import { fullWords, inWordsOf, pullFailure } from "./failure.ts";
import { startPodmanService } from "./podman-service.ts";
import type { PreparedPull } from "./prepared-pull.ts";
import type { PullTracker } from "./pull-progress.ts";
import { podmanArguments } from "./surroundings.ts";

/** Pulls from a registry; returns the image's ID. */
export async function pullFromRegistry({
  reference,
  alias,
  surroundings,
  signal,
  tracker,
}: PreparedPull): Promise<string> {
  const { name } = reference;
  await using service = await inWordsOf(name, startPodmanService(alias.folder, surroundings, signal));
  try {
    await pullThroughDockerApi({ socketPath: service.socketPath, name, signal, onLine: (line) => tell(tracker, line) });
  } catch (error) {
    if (error instanceof PullRefused) throw pullFailure(name, fullWords(error.message, service.log()), error);
    // Where the connection broke because the service died, its own words tell more.
    await inWordsOf(name, Promise.race([service.failed, sleep(1000)]));
    throw error;
  }
  return await imageIdFromDockerApi(service.socketPath, name, signal);
}

/** Takes an image from a file; returns its ID. */
export async function pullFromFile({ reference, surroundings, signal }: PreparedPull): Promise<string> {
  const id = await podman(["pull", "--quiet", formatReference(reference)], reference.name, surroundings, signal);
  // podman makes up a name, another in each version: ours is the same everywhere.
  await podman(["tag", id, storedName(reference)], reference.name, surroundings, signal);
  return id;
}

/** Runs a command that prints an ID as its last line. */
async function podman(
  args: readonly string[],
  name: string,
  surroundings: StartOptions,
  signal: AbortSignal,
): Promise<string> {
  const options = { ...surroundings, signal, maxOutput: 1024 * 1024 };
  const { stdout } = await inWordsOf(name, run("podman", [...podmanArguments, ...args], options));
  return stdout.toString("utf8").trim().split("\n").at(-1) ?? "";
}

function tell(tracker: PullTracker, { status, id, progressDetail }: PullLine): void {
  if (id === undefined || status === undefined) return;
  switch (status) {
    case "Pulling fs layer":
      return tracker.started(id);
    case "Downloading":
      return tracker.fetched(id, progressDetail?.current ?? 0, progressDetail?.total);
    case "Already exists":
      return tracker.cached(id);
    case "Download complete":
      return tracker.completed(id);
  }
}
