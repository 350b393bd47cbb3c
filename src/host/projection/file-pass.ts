import type { FileNode, SymlinkNode } from "#image/tree.ts";
import { batchFiles, type FileNeeds, type NodeBatch } from "./file-batches.ts";
import type { FileBatch, FileRead } from "./read-files.ts";

export interface FilePassOptions {
  /** Reads a batch of files, in a worker. */
  readonly readFiles: (batch: FileBatch) => Promise<FileRead[]>;
  /** How many batches may be under way at once. */
  readonly parallel: number;
  /** The stores that are given files. */
  readonly targets: Pick<FileBatch, "ostree" | "composefs">;
  /** What became of a file. */
  readonly onFile: (node: FileNode | SymlinkNode, read: FileRead) => void;
  /** More of the files given so far were read. */
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Hands the files of layers to the workers, a few batches at a time. */
export class FilePass {
  readonly #options: FilePassOptions;
  readonly #running = new Set<Promise<void>>();
  /** What is done when a layer has been read. */
  readonly #layers: Promise<void>[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(options: FilePassOptions) {
    this.#options = options;
  }

  /**
   * Returns when the last batch of a layer is under way; `done` is called when all of them have been read. `root` is
   * the folder with the layer's files.
   */
  async give(
    root: string,
    needs: Iterable<readonly [FileNode | SymlinkNode, FileNeeds]>,
    done: () => void | Promise<void>,
  ): Promise<void> {
    const ofLayer: Promise<void>[] = [];
    for (const batch of batchFiles(needs)) {
      this.#options.signal.throwIfAborted();
      while (this.#running.size >= this.#options.parallel) await this.#one();
      ofLayer.push(this.#start(this.#read(root, batch)));
    }
    this.#layers.push(this.#finishLayer(ofLayer, done));
  }

  /** Waits until everything is read. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await this.#one();
    await Promise.all(this.#layers);
    this.#throwFailure();
  }

  /** Waits until no worker writes into a store any more, whatever went wrong. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running);
    await Promise.all(this.#layers);
  }

  /** Kept for whoever waits next: nobody may be waiting when it happens. */
  readonly #keep = (error: unknown): void => {
    this.#failure ??= { error };
  };

  async #finishLayer(batches: readonly Promise<void>[], done: () => void | Promise<void>): Promise<void> {
    await Promise.all(batches);
    try {
      if (this.#failure === undefined) await done();
    } catch (error) {
      this.#keep(error);
    }
  }

  #start(work: Promise<void>): Promise<void> {
    const running: Promise<void> = work.catch(this.#keep).finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  async #one(): Promise<void> {
    await Promise.race(this.#running);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #read(root: string, { nodes, files, metadata }: NodeBatch): Promise<void> {
    const { readFiles, targets, onFile, onBytes } = this.#options;
    const reads = await readFiles({ root, ...targets, files, metadata });
    let bytes = 0;
    for (const [i, read] of reads.entries()) {
      const node = nodes[i];
      if (node === undefined) throw new Error("a worker answered for more files than it was given");
      if (node.kind === "file") bytes += node.size;
      onFile(node, read);
    }
    onBytes(bytes);
  }
}
