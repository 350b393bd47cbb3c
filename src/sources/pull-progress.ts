import { type Digest, hexOf } from "#base/digest.ts";
import type { BytesProgress, ProgressPart } from "#base/progress.ts";

/** A blob of an image as its manifest announces it. */
export interface AnnouncedBlob {
  readonly kind: BlobKind;
  readonly digest: Digest;
  /** In bytes, as the source has it: compressed, mostly. */
  readonly size: number;
}

type BlobKind = "layer" | "config";

export interface PullTrackerOptions {
  /** The image's name. */
  readonly id: string;
  /** Empty where the manifest is not known: then the totals grow with what podman tells. */
  readonly blobs: readonly AnnouncedBlob[];
  /** Blobs that the store holds already: cached from the start. */
  readonly stored?: ReadonlySet<Digest>;
  /** Whether amounts come from `watchBlobs`, and nobody tells of cached blobs. */
  readonly estimated: boolean;
}

/**
 * What is known of a pull that runs. A blob is named by its digest's hex digits, or as many of the first ones as
 * podman tells. Amounts never go back (podman starts a blob anew when the connection breaks) and never exceed
 * the total. Bytes are what is there, fetched or cached: a part, and the whole, is done when its bytes are its total.
 */
export interface PullTracker {
  started(blob: string): void;
  fetched(blob: string, bytes: number, size?: number): void;
  /** The store had it before. */
  cached(blob: string): void;
  completed(blob: string): void;
  /** All that was fetched, where that is known better than for each blob (see `watchBlobs`). */
  fetchedInAll(bytes: number): void;
  /** The pull has succeeded. */
  finish(): void;
  event(): BytesProgress;
}

interface TrackedBlob {
  readonly kind: BlobKind;
  readonly hex: string;
  bytes: number;
  total: number;
  state: "announced" | "started" | "cached" | "complete";
}

export function trackPull({ id, blobs: announced, stored, estimated }: PullTrackerOptions): PullTracker {
  let blobs = uniqueBlobs(announced, stored ?? new Set());
  let inAll = 0;
  let shown = 0;
  let strangers = false;
  let finished = false;

  function find(prefix: string): TrackedBlob {
    const known = blobs.find(({ hex }) => hex.startsWith(prefix));
    if (known !== undefined) return known;
    const added: TrackedBlob = { kind: "layer", hex: prefix, bytes: 0, total: 0, state: "announced" };
    strangers = announced.length > 0;
    blobs.push(added);
    return added;
  }

  function start(prefix: string): TrackedBlob {
    const blob = find(prefix);
    if (blob.state === "announced") blob.state = "started";
    return blob;
  }

  return {
    started: (prefix) => void start(prefix),
    fetched(prefix, bytes, size = 0) {
      const blob = start(prefix);
      if (isDone(blob)) return;
      // The manifest's word counts, podman's where there is none.
      if (blob.total === 0) blob.total = size;
      blob.bytes = Math.max(blob.bytes, blob.total === 0 ? bytes : Math.min(bytes, blob.total));
    },
    cached: (prefix) => end(find(prefix), "cached"),
    completed(prefix) {
      const blob = find(prefix);
      if (blob.state !== "cached") end(blob, "complete");
    },
    fetchedInAll(bytes) {
      inAll = Math.max(inAll, bytes);
    },
    finish() {
      // Blobs that nobody announced: the tag has moved meanwhile, and what never came is of the image before.
      if (strangers) blobs = blobs.filter(({ state }) => state !== "announced");
      for (const blob of blobs) {
        if (!isDone(blob)) end(blob, blob.state === "announced" && !estimated ? "cached" : "complete");
      }
      finished = true;
    },
    event() {
      const announcedTotal = sum(blobs, "total");
      const cached = blobs.filter(({ state }) => state === "cached");
      const layers = blobs.filter(({ kind }) => kind === "layer");
      const counted = Math.max(sum(blobs, "bytes"), sum(cached, "total") + inAll);
      shown = Math.max(shown, announcedTotal === 0 ? counted : Math.min(counted, announcedTotal));
      return {
        kind: "bytes",
        task: "pulling",
        id,
        description: `Pulling ${id}`,
        bytes: shown,
        bytesCached: sum(cached, "total"),
        bytesTotal: announcedTotal === 0 && !finished ? 0 : Math.max(announcedTotal, shown),
        steps: layers.filter(isDone).length,
        stepsCached: layers.filter(({ state }) => state === "cached").length,
        stepsTotal: layers.length,
        parts: blobs.map(partOf),
        estimated,
      };
    },
  };
}

/** Several pulls as one, of whose totals one is unknown where one of theirs is. */
export function sumOfPulls(id: string, pulls: readonly BytesProgress[]): BytesProgress {
  const sumOf = (amount: "bytes" | "bytesCached" | "bytesTotal" | "steps" | "stepsCached" | "stepsTotal") =>
    pulls.reduce((before, pull) => before + pull[amount], 0);
  return {
    kind: "bytes",
    task: "pulling",
    id,
    description: `Pulling ${id}`,
    bytes: sumOf("bytes"),
    bytesCached: sumOf("bytesCached"),
    bytesTotal: pulls.some(({ bytesTotal }) => bytesTotal === 0) ? 0 : sumOf("bytesTotal"),
    steps: sumOf("steps"),
    stepsCached: sumOf("stepsCached"),
    stepsTotal: sumOf("stepsTotal"),
    // What two of them have in common is pulled once, and shown twice.
    parts: pulls.flatMap(({ parts }) => parts),
    estimated: pulls.some(({ estimated }) => estimated),
  };
}

function uniqueBlobs(blobs: readonly AnnouncedBlob[], stored: ReadonlySet<Digest>): TrackedBlob[] {
  const unique = new Map(blobs.map((blob) => [blob.digest, blob]));
  return [...unique.values()].map(({ kind, digest, size }) => ({
    kind,
    hex: hexOf(digest),
    bytes: stored.has(digest) ? size : 0,
    total: size,
    state: stored.has(digest) ? "cached" : "announced",
  }));
}

function end(blob: TrackedBlob, state: "cached" | "complete"): void {
  blob.total = Math.max(blob.total, blob.bytes);
  blob.bytes = blob.total;
  blob.state = state;
}

function isDone({ state }: TrackedBlob): boolean {
  return state === "cached" || state === "complete";
}

function sum(blobs: readonly TrackedBlob[], amount: "bytes" | "total"): number {
  return blobs.reduce((before, blob) => before + blob[amount], 0);
}

/** As bootc does, the first 21 characters of the digest name a part. */
function partOf({ kind, hex, bytes, total, state }: TrackedBlob): ProgressPart {
  const id = `sha256:${hex}`.slice(0, 21);
  return {
    part: kind,
    id,
    description: kind === "layer" ? `Layer ${hex.slice(0, 12)}` : "Configuration",
    bytes,
    bytesCached: state === "cached" ? total : 0,
    bytesTotal: total,
  };
}
