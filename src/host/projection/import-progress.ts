import type { FileNode, SymlinkNode } from "#image/tree.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import type { HostContext } from "../operation.ts";

/**
 * How many bytes of files were read. A layer whose headers have not been parsed yet counts with the size of its tar,
 * so that the total never grows.
 */
export class ImportProgress {
  readonly #context: HostContext;
  readonly #id: string;
  readonly #totals: number[];
  readonly #unknown: Set<number>;
  #bytes = 0;

  constructor(context: HostContext, reference: string, layers: readonly { readonly record: LayerRecord }[]) {
    this.#context = context;
    this.#id = reference;
    this.#totals = layers.map(({ record }) => record.diffSize ?? 0);
    this.#unknown = new Set(layers.keys());
  }

  /** The files of a layer that will be read. */
  know(index: number, files: Iterable<FileNode | SymlinkNode>): void {
    let bytes = 0;
    for (const file of files) if (file.kind === "file") bytes += file.size;
    this.#totals[index] = bytes;
    this.#unknown.delete(index);
    this.#report();
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    this.#report();
  }

  #report(): void {
    const bytesTotal = this.#totals.reduce((sum, bytes) => sum + bytes, 0);
    if (bytesTotal === 0) return;
    this.#context.report({
      kind: "bytes",
      task: "importing",
      id: this.#id,
      description: "Sharing with the ostree repository",
      bytes: this.#bytes,
      bytesCached: 0,
      bytesTotal,
      steps: 0,
      stepsCached: 0,
      stepsTotal: 1,
      parts: [],
      estimated: this.#unknown.size > 0,
    });
  }
}
