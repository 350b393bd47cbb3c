import { availableParallelism } from "node:os";
import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import type { FileContent } from "#formats/splitstream-layer.ts";
import { type DirectoryNode, type FileNode, filesOf, pathOf } from "#image/tree.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import type { ContentOf } from "#stores/composefs/image-tree.ts";
import type { ObjectPolicy } from "#stores/composefs/store-object.ts";
import type { FileNeeds } from "./projection/file-batches.ts";
import { FilePass } from "./projection/file-pass.ts";
import { readerOf, type Work, type WorkDone, workerEntry } from "./projection/work.ts";

/** What reading takes. */
export interface ReadingContext {
  readonly report: ReportProgress;
  readonly signal: AbortSignal;
  /** The folder with the entry points of worker threads. */
  readonly workers: URL;
}

/** Where files of more than 64 bytes become objects. */
export interface ObjectStore {
  /** Folders for these objects that are there already, and where new ones are to wait. */
  readonly objects: string;
  readonly staging: string;
  readonly policy: ObjectPolicy;
}

/**
 * Reads the files of a tree that `scanDirectory` made of `root`, or of what became of that tree, in worker threads: each
 * once. Small ones are kept, others become objects of `store`, or are only named without one.
 * Error: "corrupt" where somebody has changed files meanwhile.
 */
export async function readContents(
  root: string,
  tree: DirectoryNode,
  algorithm: VerityAlgorithm,
  context: ReadingContext,
  store: ObjectStore = nowhere,
): Promise<ContentOf> {
  const contents = new Map<ByteString, FileContent>();
  const needs = needsOf(tree);
  const progress = new ReadingProgress(context.report, root, needs);
  const { objects, staging, policy } = store;
  await using pool = new WorkerPool<Work, WorkDone>(workerEntry(context.workers), availableParallelism());
  const pass = new FilePass({
    readFiles: readerOf(pool),
    parallel: availableParallelism() * 2,
    targets: {
      ostree: undefined,
      composefs: { target: { objects, staging, algorithm, secure: false }, policy },
    },
    onFile: (node, { composefs: content }) => {
      if (node.kind !== "file" || content === undefined) return;
      contents.set(pathOf(node), content.kind === "inline" ? content : { kind: "object", id: content.id });
    },
    onBytes: (bytes) => progress.add(bytes),
    signal: context.signal,
  });
  try {
    await pass.give(root, needs, () => {});
    await pass.finish();
  } catch (error) {
    throw changedMeanwhile(error, root);
  } finally {
    await pass.settle();
  }
  return (file) => contents.get(pathOf(file));
}

/** Nothing is there, and nothing is put there. */
const nowhere: ObjectStore = {
  objects: "/proc/self/fd/none",
  staging: "/proc/self/fd/none",
  policy: { method: "none", allowCopy: false, sealSources: false },
};

/** A file may be several nodes of a tree that was labelled. */
function needsOf(tree: DirectoryNode): ReadonlyMap<FileNode, FileNeeds> {
  const files = new Map<ByteString, FileNode>();
  for (const node of filesOf(tree)) if (node.kind === "file" && node.size > 0) files.set(pathOf(node), node);
  return new Map(files.values().map((node) => [node, { composefs: true }]));
}

function changedMeanwhile(error: unknown, root: string): unknown {
  if (!(error instanceof OneholdError) || error.code !== "corrupt" || error.subject !== root) return error;
  return new OneholdError("corrupt", `${root} changed while it was read`, {
    cause: error,
    subject: root,
    hint: "Have nobody write into it, and try again.",
  });
}

class ReadingProgress {
  readonly #report: ReportProgress;
  readonly #id: string;
  readonly #total: number;
  #read = 0;

  constructor(report: ReportProgress, id: string, needs: ReadonlyMap<FileNode, FileNeeds>) {
    this.#report = report;
    this.#id = id;
    this.#total = needs.keys().reduce((sum, { size }) => sum + size, 0);
  }

  add(bytes: number): void {
    this.#read += bytes;
    this.#report({
      kind: "bytes",
      task: "reading",
      id: this.#id,
      description: "Reading files",
      bytes: this.#read,
      bytesCached: 0,
      bytesTotal: this.#total,
      steps: 0,
      stepsCached: 0,
      stepsTotal: 0,
      parts: [],
      estimated: false,
    });
  }
}
