import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { addTo, emptyAccount, type SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import type { NodeBatch } from "./batches.ts";
import type { FileBatch, StoredFile } from "./file-objects.ts";
import type { Repository } from "./repository.ts";
import { inheritsXattrs, type Staging } from "./staging.ts";
import type { ObjectsOfNodes } from "./trees.ts";

export interface FileStoreOptions {
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
  /** Stores a batch of files, in a worker. */
  readonly storeFiles: (batch: FileBatch) => Promise<StoredFile[]>;
  /** How many batches may be under way at once. */
  readonly parallel: number;
  readonly onBytes: (progress: { bytes: number; bytesTotal: number }) => void;
  readonly signal?: AbortSignal;
}

/** Gives the files of an import to the workers and keeps account of what became of them. */
export class FileStore {
  readonly account: SharingAccount = emptyAccount();
  /** Which object holds each file that was stored. */
  readonly objects: ObjectsOfNodes = new Map();
  /** Where objects are, and where new ones wait. */
  readonly folders: Pick<FileBatch, "objects" | "staging">;
  readonly #options: FileStoreOptions;
  readonly #inheritsXattrs: boolean;
  readonly #refused = new Map<Checksum, number>();
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #bytes = 0;
  #bytesTotal = 0;

  constructor(repository: Repository, staging: Staging, options: FileStoreOptions) {
    this.#options = options;
    this.folders = { objects: path.join(repository.path, "objects"), staging: staging.path };
    this.#inheritsXattrs = inheritsXattrs(staging);
  }

  /** What all batches of a layer have in common; `root` is the folder with its files. */
  environment(root: string): Omit<FileBatch, "files" | "metadata"> {
    const { probe, allowCopy } = this.#options;
    return {
      root,
      ...this.folders,
      policy: { method: probe.method, allowCopy },
      inheritsXattrs: this.#inheritsXattrs,
    };
  }

  /** Hands batches to the workers, a few at a time; returns when the last one is under way. */
  async store(batches: Iterable<NodeBatch>): Promise<void> {
    for (const batch of batches) {
      this.#options.signal?.throwIfAborted();
      for (const file of batch.batch.files) this.#bytesTotal += file.size;
      while (this.#running.size >= this.#options.parallel) await this.#one();
      const running: Promise<void> = this.#storeBatch(batch)
        // Kept for whoever waits next: nobody may be waiting when it happens.
        .catch((error: unknown) => {
          this.#failure ??= { error };
        })
        .finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** Waits until everything is stored. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await this.#one();
    this.#throwFailure();
  }

  /** Waits until no worker writes into the staging folder any more, whatever went wrong. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  /** Refuses (`cannot-share`) where some files could only be copied and that was not allowed. */
  refuseCopies(what: string): void {
    if (this.#refused.size === 0) return;
    let bytes = 0;
    for (const size of this.#refused.values()) bytes += size;
    const files = `${this.#refused.size} ${this.#refused.size === 1 ? "file" : "files"} (${bytes} bytes)`;
    const { reason } = this.#options.probe;
    throw new OneholdError(
      "cannot-share",
      `${files} of ${what} can't be shared with the ostree repository${reason === "" ? "" : `: ${reason}`}; the repository is as it was`,
      { subject: what, hint: `With --allow-copy they are copied, which takes ${bytes} bytes more on the disk.` },
    );
  }

  async #one(): Promise<void> {
    await Promise.race(this.#running);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #storeBatch({ batch, nodes }: NodeBatch): Promise<void> {
    const stored = await this.#options.storeFiles(batch);
    for (const [i, { checksum, outcome }] of stored.entries()) {
      const node = nodes[i];
      const size = batch.files[i]?.size ?? 0;
      if (node === undefined) throw new Error("a worker answered for more files than it was given");
      this.objects.set(node, checksum);
      this.#bytes += size;
      if (outcome === "refused") this.#refused.set(checksum, size);
      else if (outcome !== "symlink" && node.kind === "file") addTo(this.account[outcome], size);
    }
    this.#options.onBytes({ bytes: this.#bytes, bytesTotal: this.#bytesTotal });
  }
}
