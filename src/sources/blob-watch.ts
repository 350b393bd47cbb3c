import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { hexOf } from "#base/digest.ts";
import type { AnnouncedBlob, PullTracker } from "./pull-progress.ts";

/** A file with a blob that is being fetched, or has been. */
export interface BlobFile {
  /** 1 for the first that was begun, and so on. */
  readonly number: number;
  readonly size: number;
}

/**
 * Follows a pull of podman's or skopeo's, where nothing tells of its progress, by the files in which it keeps the blobs:
 * the sum of their sizes is right; which file has which blob is guessed (see `assignBlobs`).
 */
export function watchBlobs(temporary: string, blobs: readonly AnnouncedBlob[], tracker: PullTracker): Disposable {
  let assigned: ReadonlyMap<number, AnnouncedBlob> = new Map();
  const look = () => {
    const files = readBlobFiles(temporary);
    assigned = assignBlobs(files, blobs, assigned);
    for (const { number, size } of files) {
      const blob = assigned.get(number);
      if (blob === undefined) continue;
      tracker.fetched(hexOf(blob.digest), size);
      if (size === blob.size) tracker.completed(hexOf(blob.digest));
    }
    tracker.fetchedInAll(files.reduce((sum, { size }) => sum + size, 0));
  };
  const timer = setInterval(look, 250);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * Which blob each file has: one whose size is exactly that of a blob has it; another keeps the blob it was
 * given before, while that is larger, or gets the first of the larger ones that is free.
 */
export function assignBlobs(
  files: readonly BlobFile[],
  blobs: readonly AnnouncedBlob[],
  before: ReadonlyMap<number, AnnouncedBlob>,
): ReadonlyMap<number, AnnouncedBlob> {
  const assigned = new Map<number, AnnouncedBlob>();
  const free = new Set(blobs);
  const assign = (file: BlobFile, choose: (blob: AnnouncedBlob) => boolean) => {
    const blob = free.values().find(choose);
    if (assigned.has(file.number) || blob === undefined) return;
    assigned.set(file.number, blob);
    free.delete(blob);
  };
  for (const file of files) assign(file, (blob) => blob === before.get(file.number) && blob.size === file.size);
  for (const file of files) assign(file, (blob) => blob.size === file.size);
  for (const file of files) assign(file, (blob) => blob === before.get(file.number) && blob.size > file.size);
  for (const file of files) assign(file, (blob) => blob.size > file.size);
  return assigned;
}

/** podman and skopeo keep blobs in a folder storageNNN (container_images_storageNNN), named 1, 2, 3, in the order in which they begin. */
function readBlobFiles(temporary: string): BlobFile[] {
  const folders = names(temporary).filter((name) => /^(?:container_images_)?storage[0-9]+$/.test(name));
  const files = folders.flatMap((folder) =>
    names(join(temporary, folder))
      .filter((name) => /^[0-9]+$/.test(name))
      .flatMap((name) => sizeOf(join(temporary, folder, name)).map((size) => ({ number: Number(name), size }))),
  );
  return files.toSorted((a, b) => a.number - b.number);
}

/** What vanishes while we look is no error (the program removes its files at the end), and progress is not worth one. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function sizeOf(path: string): number[] {
  try {
    return [statSync(path).size];
  } catch {
    return [];
  }
}
