import fs from "node:fs";
import { type ByteString, byteStringOfText, joinBytes } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { isUnfinished, leadsSomewhere, listLinks, listRefs, objectOfTarget, removeLink } from "./links.ts";
import { lockRepository, type RepositoryLockOptions } from "./lock.ts";
import { hasObject, listObjects } from "./objects.ts";
import { findReachable, type TagChange } from "./reachable.ts";
import { refuseReadOnlyRepository, type Repository } from "./repository.ts";
import { clearStaging } from "./staging.ts";
import { manifestOfStreamName } from "./streams.ts";

export interface SweepOptions extends RepositoryLockOptions {
  /** Only says what would go. */
  readonly dryRun: boolean;
}

export interface Swept {
  readonly objects: number;
  /** Sizes of the objects, also of those whose blocks another store still shares. */
  readonly bytes: number;
  /** Names of streams and images, and refs that led nowhere. */
  readonly links: number;
}

/** What a sweep takes. */
export interface Unreachable {
  readonly objects: readonly { readonly id: ObjectId; readonly file: string }[];
  /** Symlinks, by their path below the repository's folder. */
  readonly links: readonly ByteString[];
  /** Images whose names are among these. */
  readonly images: readonly Digest[];
}

/**
 * Finds it, without a lock. `change`: as if it had been made.
 * @throws "corrupt" where a stream or image that must stay can't be read
 */
export function findUnreachable(repository: Repository, change?: TagChange): Unreachable {
  const { objects: live, danglingReferrers } = findReachable(repository, change);
  const links = [...new Set([...danglingReferrers, ...deadLinks(repository, live)])];
  const objects = [...listObjects(repository)].flatMap(({ id, file }) =>
    id === undefined || live.has(id) ? [] : [{ id, file }],
  );
  const images = links.flatMap((link) => manifestOfStreamName(link.replace(/^streams\//, "")) ?? []);
  return { objects, links, images };
}

/**
 * Deletes what no ref below `streams/refs` and `images/refs` reaches, as composefs-rs does, under the repository's
 * exclusive lock; waits for that. Names go before objects, so that after a power cut none stands for less than a whole.
 * @throws "corrupt" where a stream or image that must stay can't be read: then nothing is deleted
 */
export async function sweepRepository(repository: Repository, options: SweepOptions): Promise<Swept> {
  const { dryRun, signal } = options;
  if (!dryRun) refuseReadOnlyRepository(repository);
  using _ = await lockRepository(repository, dryRun ? "shared" : "exclusive", options);
  if (!dryRun) clearStaging(repository);
  const { objects, links } = findUnreachable(repository);
  if (!dryRun && links.length > 0) {
    for (const link of links) removeLink(repository, link);
    using directory = openDirectory(repository.path);
    syncfs(directory.fd);
  }
  let bytes = 0;
  for (const { file } of objects) {
    signal?.throwIfAborted();
    bytes += fs.lstatSync(file).size;
    if (!dryRun) fs.unlinkSync(file);
  }
  return { objects: objects.length, bytes, links: links.length };
}

/** By their path below the repository's folder. */
function deadLinks(repository: Repository, live: ReadonlySet<ObjectId>): ByteString[] {
  return (["streams", "images"] as const).flatMap((folder) => {
    const top = byteStringOfText(folder);
    const refs = joinBytes(top, byteStringOfText("refs"));
    const names = listLinks(repository, folder).flatMap((link) => {
      const id = objectOfTarget(repository, link.target);
      const dead =
        id === undefined
          ? !leadsSomewhere(repository, joinBytes(top, link.name))
          : !live.has(id) || !hasObject(repository, id);
      return dead || isUnfinished(link) ? [joinBytes(top, link.name)] : [];
    });
    const broken = listRefs(repository, folder).flatMap((link) => {
      const file = joinBytes(refs, link.name);
      return isUnfinished(link) || !leadsSomewhere(repository, file) ? [file] : [];
    });
    return [...names, ...broken];
  });
}
