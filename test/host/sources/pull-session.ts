import { mkdirSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import type { BytesProgress, ProgressEvent } from "#base/progress.ts";
import type { PullResult } from "#sources/pull.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { cacheFolder } from "#fixtures/cache.ts";
import { endOf } from "#fixtures/programs.ts";
import type { ProgramsFolder } from "./programs-folder.ts";

/** What `pull-once.ts` is to do. */
export interface PullOrder {
  readonly reference: string;
  /** Pulled after it, by the same process. */
  readonly more?: readonly string[];
  /** The image store is its `storage`. */
  readonly storeFolder: string;
  readonly temporary: string;
  readonly source?: "auto" | "podman" | "skopeo";
  readonly tlsVerify?: boolean;
  readonly inspect?: boolean;
  readonly root?: string;
  readonly binds?: readonly (readonly [source: string, target: string])[];
  /** The store's folder is a file system of this size. */
  readonly storeSizeMiB?: number;
}

export interface SeenError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly subject?: string | undefined;
}

/** A line of its output. */
export type PullLine =
  | { readonly at: number; readonly event: ProgressEvent }
  | { readonly result: PullResult }
  | { readonly remote: SeenRemote | null }
  | { readonly error: SeenError }
  | { readonly end: { readonly mounts: readonly string[]; readonly temporary: readonly string[] } };

export interface SeenRemote {
  readonly digest: string;
  readonly bytes: string;
  readonly indexDigest?: string | undefined;
  readonly size: number;
}

export interface PullSession {
  readonly events: readonly { readonly at: number; readonly event: BytesProgress }[];
  readonly result: PullResult | undefined;
  readonly remote: SeenRemote | null | undefined;
  readonly error: SeenError | undefined;
  /** What it has left. */
  readonly mounts: readonly string[];
  readonly temporary: readonly string[];
  readonly durationMs: number;
}

export interface SessionOptions extends Omit<PullOrder, "storeFolder" | "temporary"> {
  readonly programs: ProgramsFolder;
  readonly store: StoreFolder;
  readonly env?: NodeJS.ProcessEnv;
  /** Sends the signal, SIGTERM by default, when it returns true. */
  readonly interruptWhen?: (event: BytesProgress) => boolean;
  readonly interruptWith?: "SIGTERM" | "SIGKILL";
}

/** A folder for one image store and its blobs. */
export interface StoreFolder extends AsyncDisposable {
  readonly path: string;
  /** The image store, made by the first pull. */
  readonly storage: string;
}

export async function makeStoreFolder(): Promise<StoreFolder> {
  const folder = await makeTemporaryFolder("pull");
  mkdirSync(join(folder.path, "sysroot"));
  mkdirSync(join(folder.path, "temporary"));
  return {
    path: folder.path,
    storage: join(folder.path, "sysroot/storage"),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Runs one pull in a process and a mount namespace of its own. */
export async function pullOnce({
  programs,
  store,
  env,
  interruptWhen,
  interruptWith,
  ...order
}: SessionOptions): Promise<PullSession> {
  const full: PullOrder = {
    ...order,
    storeFolder: join(store.path, "sysroot"),
    temporary: join(store.path, "temporary"),
  };
  const started = performance.now();
  const child = spawn(process.execPath, [join(import.meta.dirname, "pull-once.ts"), JSON.stringify(full)], {
    // Half a second of each pull would go into compiling.
    env: { ...process.env, NODE_COMPILE_CACHE: join(cacheFolder(), "compile"), ...env, PATH: programs.path },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const session: { -readonly [Key in keyof PullSession]: PullSession[Key] } & {
    events: { at: number; event: BytesProgress }[];
  } = {
    events: [],
    result: undefined,
    remote: undefined,
    error: undefined,
    mounts: [],
    temporary: [],
    durationMs: 0,
  };
  createInterface({ input: child.stdout }).on("line", (text) => {
    const line = JSON.parse(text) as PullLine;
    if ("event" in line) {
      if (line.event.kind !== "bytes") throw new Error(`an event of another kind: ${text}`);
      session.events.push({ at: line.at, event: line.event });
      if (interruptWhen?.(line.event) === true) child.kill(interruptWith);
    } else if ("end" in line) Object.assign(session, line.end);
    else Object.assign(session, line);
  });
  const ended = await endOf(child);
  if (ended.status !== 0 && ended.signal !== interruptWith)
    throw new Error(`pull-once.ts: exit status ${ended.status}, signal ${ended.signal}`);
  session.durationMs = performance.now() - started;
  return session;
}

/** A folder that stands for / where credentials and registries.conf are looked for. */
export function makeConfiguration(folder: string, files: Readonly<Record<string, string>>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}
