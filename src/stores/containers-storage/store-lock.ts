import { constants, mkdirSync, readSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { OneholdError } from "#base/errors.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { type LockKind, lock } from "#linux/locks.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { lockFiles } from "./layout.ts";
import type { ImageStore } from "./store.ts";

/** Proof that the store's locks are held for changes: given to the function that runs under them. */
export interface ExclusiveHold {
  readonly store: ImageStore;
  /** podman's lock files, open: their first bytes announce changes. */
  readonly layersLock: Descriptor;
  readonly imagesLock: Descriptor;
}

export interface LockWait {
  /** How long to wait for podman; without it, two minutes: podman 4.3 holds the lock while it unpacks a layer. */
  readonly timeoutMs?: number;
  /** Called once, where podman holds the locks. */
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

const defaultTimeoutMs = 120_000;

/**
 * Runs a function while the store's records stay as they are. Podman cannot even start with this store as
 * its own meanwhile, so this is for milliseconds; verbs that only read do without (see `contentsOf`).
 * @throws busy, interrupted
 */
export async function withSharedLock<T>(store: ImageStore, run: () => T | Promise<T>, wait: LockWait = {}): Promise<T> {
  using open = new DisposableStack();
  const files = lockFiles(store.root);
  for (const path of [files.layers, files.images]) {
    const file = openExisting(path);
    // A store that nobody has used yet has no lock files.
    if (file !== undefined) await take(store, open.use(file), "shared", wait);
  }
  return await run();
}

/**
 * Runs a function that changes the store, under podman's own locks, taken in podman's order: layers, images,
 * containers. `storage.lock` is not among them: it guards the driver's own state.
 * @throws busy, interrupted; unsupported for an additional store; system where the file system is read-only
 */
export async function withExclusiveLock<T>(
  store: ImageStore,
  run: (hold: ExclusiveHold) => T | Promise<T>,
  wait: LockWait = {},
): Promise<T> {
  if (store.readOnly)
    throw new OneholdError("unsupported", `the additional image store ${store.root} is not to be changed`, {
      subject: store.root,
    });
  using open = new DisposableStack();
  const files = lockFiles(store.root);
  const layersLock = open.use(openOrCreate(files.layers));
  await take(store, layersLock, "exclusive", wait);
  const imagesLock = open.use(openOrCreate(files.images));
  await take(store, imagesLock, "exclusive", wait);
  await take(store, open.use(openOrCreate(files.containers)), "exclusive", wait);
  return await run({ store, layersLock, imagesLock });
}

async function take(store: ImageStore, file: Descriptor, kind: LockKind, wait: LockWait): Promise<void> {
  await lock(file.fd, kind, { what: `the image store ${store.root}`, timeoutMs: defaultTimeoutMs, ...wait });
}

function openExisting(path: string): Descriptor | undefined {
  try {
    return openFile(path, constants.O_RDONLY);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

function openOrCreate(path: string): Descriptor {
  withSystemErrors(() => mkdirSync(dirname(path), { recursive: true, mode: 0o700 }));
  return openFile(path, constants.O_RDWR | constants.O_CREAT, 0o644);
}

const tokenLength = 64;
const counterOffset = 8;
const pidOffset = 16;
const randomOffset = 20;

/**
 * Makes every other process read the store's records again: they compare the first 64 bytes of the lock file
 * with what they remember. The parts are those that podman writes: the time in nanoseconds, a counter, the
 * process, and random bytes.
 */
export function announceChange(lockFile: Descriptor): void {
  const token = Buffer.alloc(tokenLength);
  withSystemErrors(() => readSync(lockFile.fd, token, 0, tokenLength, 0));
  token.writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n, 0);
  token.writeBigUInt64LE(BigInt.asUintN(64, token.readBigUInt64LE(counterOffset) + 1n), counterOffset);
  token.writeUInt32LE(process.pid, pidOffset);
  randomBytes(tokenLength - randomOffset).copy(token, randomOffset);
  withSystemErrors(() => writeSync(lockFile.fd, token, 0, tokenLength, 0));
}
