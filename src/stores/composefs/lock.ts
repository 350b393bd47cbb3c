import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { flock, type LockKind } from "#linux/locks.ts";
import type { Repository } from "./repository.ts";

export interface RepositoryLockOptions {
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

/**
 * Takes the lock that composefs-rs takes: flock(2) on the repository's folder. Shared, nobody sweeps meanwhile, so that
 * an object found to exist stays until a ref protects it; exclusive, for who sweeps. Once per process, however
 * many parts of it ask for the shared one: each disposes of what it got.
 * @throws "busy" where this process itself holds the other kind, "interrupted"
 */
export async function lockRepository(
  repository: Repository,
  kind: LockKind,
  options: RepositoryLockOptions = {},
): Promise<Disposable> {
  const { dev, ino } = fs.statSync(repository.path, { bigint: true });
  const key = `${dev}:${ino}`;
  const held = locks.get(key) ?? { kind, holders: 0, descriptor: acquire(repository, kind, options) };
  if (held.holders > 0 && (kind === "exclusive" || held.kind === "exclusive")) {
    throw new OneholdError("busy", `the composefs repository ${repository.path} is in use by this very process`, {
      subject: repository.path,
    });
  }
  held.holders++;
  locks.set(key, held);
  const release = () => {
    if (--held.holders === 0) locks.delete(key);
    return held.holders === 0;
  };
  let descriptor: Descriptor;
  try {
    descriptor = await held.descriptor;
  } catch (error) {
    release();
    throw error;
  }
  return {
    [Symbol.dispose]: () => {
      if (release()) descriptor[Symbol.dispose]();
    },
  };
}

interface HeldLock {
  readonly kind: LockKind;
  readonly descriptor: Promise<Descriptor>;
  holders: number;
}

const locks = new Map<string, HeldLock>();

async function acquire(repository: Repository, kind: LockKind, options: RepositoryLockOptions): Promise<Descriptor> {
  const descriptor = openDirectory(repository.path);
  try {
    await flock(descriptor.fd, kind, { what: `the composefs repository ${repository.path}`, ...options });
    return descriptor;
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}
