import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { BytesProgress, ReportProgress } from "#base/progress.ts";
import { type ImageReference, storedName } from "#image/reference.ts";
import { findProgram, type StartOptions } from "#linux/child.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { openCredentials } from "./auth-file.ts";
import { watchBlobs } from "./blob-watch.ts";
import { ensureImageStore } from "./create-store.ts";
import { inspectRemote, type RemoteManifest } from "./inspect-remote.ts";
import { pullFromFile, pullFromRegistry } from "./podman.ts";
import type { PreparedPull } from "./prepared-pull.ts";
import { type AnnouncedBlob, type PullTracker, sumOfPulls, trackPull } from "./pull-progress.ts";
import { tlsVerifyDropIn } from "./registries-conf.ts";
import { copyWithSkopeo } from "./skopeo.ts";
import { mountStoreAlias, type StoreAlias } from "./store-alias.ts";
import { prepareSurroundings } from "./surroundings.ts";

type Program = "podman" | "skopeo";

/** One image, with what `inspectRemote` found, where it was asked already. */
export interface WantedImage {
  readonly reference: ImageReference;
  readonly remote?: RemoteManifest | undefined;
}

export interface PullRequest extends WantedImage, PullSettings {}

export interface PullSettings {
  /** The image store; made where it is not there. */
  readonly storeRoot: string;
  /** A folder for blobs, on the sysroot's file system; what is in it is removed, at the start and in the end. */
  readonly temporary: string;
  readonly source: "auto" | Program;
  /** Undefined: as registries.conf says. */
  readonly tlsVerify: boolean | undefined;
  readonly report: ReportProgress;
  readonly signal: AbortSignal;
  /** Blobs whose layers the store holds already: they count as cached from the start. */
  readonly storedBlobs?: ReadonlySet<Digest> | undefined;
  /** Where the host's configuration is, for tests. */
  readonly root?: string | undefined;
}

export interface PullResult {
  /** 64 hex digits, by which podman knows the image. */
  readonly imageId: string;
  /** The name that the image has in the store now. */
  readonly name: string;
  readonly program: Program;
}

/**
 * Brings an image into the image store. Must run in a private mount namespace, one pull at a time. Nothing is
 * synced to the disk. Throws "pull-failed" (podman's words and a hint), "no-space", "corrupt", "program-missing",
 * "interrupted"; layers that were complete by then stay in the store.
 */
export async function pullImage(request: PullRequest): Promise<PullResult> {
  const { signal } = request;
  try {
    return await pullWith(chooseProgram(request), request);
  } catch (error) {
    if (!signal.aborted) throw error;
    // Whatever fails then, fails because we have ended it.
    throw interrupted([request], error);
  }
}

/**
 * Brings several images into the image store, up to `atOnce` of them side by side, with one progress for all, named
 * `id`. As soon as one fails the others are ended; its error is thrown. Otherwise as `pullImage`.
 */
export async function pullImages(
  images: readonly WantedImage[],
  settings: PullSettings,
  { id, atOnce = 4 }: { readonly id: string; readonly atOnce?: number },
): Promise<PullResult[]> {
  const controller = new AbortController();
  const signal = AbortSignal.any([settings.signal, controller.signal]);
  using session = await openSession(images, { ...settings, signal });
  const pulls = await Promise.all(
    images.map(async (image, index) => {
      const request = { ...settings, ...image, signal };
      const program = chooseProgram(request);
      // What is in the folder of one pull is what it has fetched.
      const temporary = join(settings.temporary, String(index));
      withSystemErrors(() => mkdirSync(temporary));
      return { program, request, temporary, tracked: await track(program, { ...request, temporary }) };
    }),
  );
  using cleanup = new DisposableStack();
  for (const { tracked } of pulls) cleanup.use(tracked);
  const event = () =>
    sumOfPulls(
      id,
      pulls.map(({ tracked }) => tracked.tracker.event()),
    );
  cleanup.use(reportSteadily(event, settings.report));
  const results: PullResult[] = [];
  const waiting = [...pulls.entries()];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
      const [index, { program, request, temporary, tracked }] = next;
      try {
        results[index] = await carryOut(program, { ...request, temporary }, session, tracked.tracker);
      } catch (error) {
        controller.abort(error);
        throw error;
      }
    }
  };
  // Nobody may go on writing into the store when this returns.
  await Promise.allSettled(Array.from({ length: atOnce }, work));
  if (settings.signal.aborted) throw interrupted(images, settings.signal.reason);
  controller.signal.throwIfAborted();
  settings.report(event());
  return results;
}

async function pullWith(program: Program, request: PullRequest): Promise<PullResult> {
  using session = await openSession([request], request);
  using tracked = await track(program, request);
  const { tracker } = tracked;
  using _steady = reportSteadily(() => tracker.event(), request.report);
  const result = await carryOut(program, request, session, tracker);
  request.report(tracker.event());
  return result;
}

/** The store, mounted, and what the programs find around them. */
interface Session extends Disposable {
  readonly alias: StoreAlias;
  readonly surroundings: StartOptions;
}

async function openSession(images: readonly WantedImage[], settings: PullSettings): Promise<Session> {
  const { storeRoot, temporary, tlsVerify, signal, root } = settings;
  using cleanup = new DisposableStack();
  emptyFolder(temporary);
  cleanup.defer(() => emptyFolder(temporary));
  await ensureImageStore(storeRoot, signal);
  const alias = cleanup.use(mountStoreAlias(storeRoot));
  const credentials = cleanup.use(openCredentials(root));
  const registries = images.filter(({ reference }) => reference.transport === "registry" && tlsVerify !== undefined);
  const dropIns = registries.map(({ reference }) => tlsVerifyDropIn(reference.name, tlsVerify === true, root));
  const registriesDropIn = dropIns.length === 0 ? undefined : [...new Set(dropIns)].join("\n");
  const surroundings = prepareSurroundings({ alias, credentials, temporary, registriesDropIn });
  const owned = cleanup.move();
  return { alias, surroundings, [Symbol.dispose]: () => owned.dispose() };
}

/** Begins to measure one pull. */
async function track(program: Program, request: PullRequest): Promise<{ tracker: PullTracker } & Disposable> {
  const { reference, temporary, storedBlobs } = request;
  const blobs = await announcedBlobs(request);
  const counted = isCounted(program, reference);
  const tracker = trackPull({ id: reference.name, blobs, stored: storedBlobs ?? new Set(), estimated: !counted });
  const expected = blobs.filter(({ digest }) => storedBlobs?.has(digest) !== true);
  const watch = counted ? undefined : watchBlobs(temporary, expected, tracker);
  return { tracker, [Symbol.dispose]: () => watch?.[Symbol.dispose]() };
}

/** podman alone tells the bytes of each blob, and of registries only. */
function isCounted(program: Program, { transport }: ImageReference): boolean {
  return transport === "registry" && program === "podman";
}

/** For an image in a store the manifest tells the sizes of blobs that are not there any more: nothing to count by. */
async function announcedBlobs({
  reference,
  remote,
  tlsVerify,
  signal,
  root,
}: PullRequest): Promise<readonly AnnouncedBlob[]> {
  if (reference.transport === "containers-storage") return [];
  return (remote ?? (await inspectRemote(reference, { tlsVerify, signal, root })))?.blobs ?? [];
}

async function carryOut(
  program: Program,
  { reference, tlsVerify, temporary, signal }: PullRequest,
  { alias, surroundings }: Session,
  tracker: PullTracker,
): Promise<PullResult> {
  const pull = { reference, tlsVerify, temporary, alias, surroundings, signal, tracker };
  const imageId = await runPull(program, pull);
  tracker.finish();
  return { imageId, name: storedName(reference), program };
}

function runPull(program: Program, pull: PreparedPull): Promise<string> {
  if (program === "skopeo") return copyWithSkopeo(pull);
  return pull.reference.transport === "registry" ? pullFromRegistry(pull) : pullFromFile(pull);
}

/**
 * podman for registries: of both, it alone tells the bytes of each blob. For the rest skopeo, which leaves the name
 * to us; and podman for root's own store would have to run as its owner, next to the host's podman.
 */
function chooseProgram({ reference, source }: PullRequest): Program {
  const { transport } = reference;
  const able =
    transport === "containers-storage"
      ? (["skopeo"] as const)
      : transport === "registry"
        ? (["podman", "skopeo"] as const)
        : (["skopeo", "podman"] as const);
  const wanted = able.filter((program) => source === "auto" || source === program);
  const found = wanted.find((program) => findProgram(program) !== undefined);
  if (found !== undefined) return found;
  if (wanted.length === 0) {
    throw new OneholdError("unsupported", `${source} can't take images from ${transport}:`, {
      hint: `Use --source ${able.join(" or --source ")}.`,
      subject: reference.name,
    });
  }
  throw new OneholdError(
    "program-missing",
    `${wanted.join(" or ")} is needed to pull ${reference.name}, and is not installed`,
    {
      subject: reference.name,
      hint: `Install the package ${wanted.join(" or ")}.`,
    },
  );
}

/** At once, and three times a second: unpacking takes its time and tells nothing. */
function reportSteadily(event: () => BytesProgress, report: ReportProgress): Disposable {
  report(event());
  const timer = setInterval(() => report(event()), 300);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function interrupted(images: readonly WantedImage[], cause: unknown): OneholdError {
  const names = images.map(({ reference }) => reference.name).join(", ");
  return new OneholdError("interrupted", `the pull of ${names} was interrupted`, { cause, subject: names });
}

function emptyFolder(folder: string): void {
  withSystemErrors(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  });
}
