import type { ObjectId } from "#formats/composefs-objects.ts";
import type { WorkerPool } from "#linux/worker-pool.ts";
import { type LayerStreamJob, stageLayerStream } from "./layer-stream.ts";
import { type FileBatch, type FileRead, readFiles } from "./read-files.ts";

/** What a worker of an import is given, and gives back. */
export type Work = { readonly files: FileBatch } | { readonly stream: LayerStreamJob };
export type WorkDone = { readonly files: FileRead[] } | { readonly stream: ObjectId };

export async function doWork(work: Work): Promise<WorkDone> {
  return "files" in work ? { files: readFiles(work.files) } : { stream: await stageLayerStream(work.stream) };
}

/** Has files read by the workers of a pool. */
export function readerOf(pool: WorkerPool<Work, WorkDone>): (files: FileBatch) => Promise<FileRead[]> {
  return async (files) => {
    const done = await pool.run({ files });
    if ("files" in done) return done.files;
    throw new Error("a worker answered what it was not asked");
  };
}

/** The module that does it, in the folder with the entry points of worker threads. */
export function workerEntry(workers: URL): URL {
  return new URL(`file-reader${workers.pathname.endsWith("/src/workers/") ? ".ts" : ".mjs"}`, workers);
}
