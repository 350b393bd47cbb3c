import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { type ImageReference, storedName } from "#image/reference.ts";
import { findProgram } from "#linux/child.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { openCredentials } from "./auth-file.ts";
import { watchBlobs } from "./blob-watch.ts";
import { ensureImageStore } from "./create-store.ts";
import { inspectRemote, type RemoteManifest } from "./inspect-remote.ts";
import { pullFromFile, pullFromRegistry } from "./podman.ts";
import type { PreparedPull } from "./prepared-pull.ts";
import { type AnnouncedBlob, type PullTracker, trackPull } from "./pull-progress.ts";
import { tlsVerifyDropIn } from "./registries-conf.ts";
import { copyWithSkopeo } from "./skopeo.ts";
import { mountStoreAlias } from "./store-alias.ts";
import { prepareSurroundings } from "./surroundings.ts";

type Program = "podman" | "skopeo";

export interface PullRequest {
  readonly reference: ImageReference;
  /** The image store; made where it is not there. */
  readonly storeRoot: string;
  /** A folder for blobs, on the sysroot's file system; what is in it is removed, at the start and in the end. */
  readonly temporary: string;
  readonly source: "auto" | Program;
  /** Undefined: as registries.conf says. */
  readonly tlsVerify: boolean | undefined;
  readonly report: ReportProgress;
  readonly signal: AbortSignal;
  /** What `inspectRemote` found, where it was asked already. */
  readonly remote?: RemoteManifest | undefined;
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
  const { reference, signal } = request;
  try {
    return await pullWith(chooseProgram(request), request);
  } catch (error) {
    if (!signal.aborted) throw error;
    // Whatever fails then, fails because we have ended it.
    throw new OneholdError("interrupted", `the pull of ${reference.name} was interrupted`, {
      cause: error,
      subject: reference.name,
    });
  }
}

async function pullWith(program: Program, request: PullRequest): Promise<PullResult> {
  const { reference, storeRoot, temporary, tlsVerify, report, signal, root } = request;
  const isRegistry = reference.transport === "registry";
  const blobs = await announcedBlobs(request);
  using cleanup = new DisposableStack();
  emptyFolder(temporary);
  cleanup.defer(() => emptyFolder(temporary));
  await ensureImageStore(storeRoot, signal);
  const alias = cleanup.use(mountStoreAlias(storeRoot));
  const credentials = cleanup.use(openCredentials(root));
  const registriesDropIn =
    isRegistry && tlsVerify !== undefined ? tlsVerifyDropIn(reference.name, tlsVerify, root) : undefined;
  const counted = isRegistry && program === "podman";
  const tracker = trackPull({
    id: reference.name,
    blobs,
    stored: request.storedBlobs ?? new Set(),
    estimated: !counted,
  });
  const expected = blobs.filter(({ digest }) => request.storedBlobs?.has(digest) !== true);
  if (!counted) cleanup.use(watchBlobs(temporary, expected, tracker));
  cleanup.use(reportSteadily(tracker, report));
  const surroundings = prepareSurroundings({ alias, credentials, temporary, registriesDropIn });
  const imageId = await carryOut(program, {
    reference,
    tlsVerify,
    temporary,
    alias,
    surroundings,
    signal,
    tracker,
  });
  tracker.finish();
  report(tracker.event());
  return { imageId, name: storedName(reference), program };
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

function carryOut(program: Program, pull: PreparedPull): Promise<string> {
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
function reportSteadily(tracker: PullTracker, report: ReportProgress): Disposable {
  report(tracker.event());
  const timer = setInterval(() => report(tracker.event()), 300);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function emptyFolder(folder: string): void {
  withSystemErrors(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  });
}
