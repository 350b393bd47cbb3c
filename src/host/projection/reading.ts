import { availableParallelism } from "node:os";
import { type ErrorCode, OneholdError } from "#base/errors.ts";
import type { FileContent } from "#formats/splitstream-layer.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import type { ComposefsImport } from "#stores/composefs/import.ts";
import type { FilesToRead } from "#stores/ostree/image-to-import.ts";
import type { OstreeImport } from "#stores/ostree/import.ts";
import type { LayerObjects } from "#stores/ostree/labelled-layers.ts";
import type { FileToImport } from "#stores/ostree/wanted-objects.ts";
import type { HostContext } from "../operation.ts";
import type { FileNeeds } from "./file-batches.ts";
import { FilePass } from "./file-pass.ts";
import type { ImportProgress } from "./import-progress.ts";
import { recallLayer, rememberLayer } from "./layer-memory.ts";
import { type LayerToProject, mostBytesFirst, parseLayer, recallStream } from "./layers.ts";
import { readerOf, type Work, type WorkDone, workerEntry } from "./work.ts";

interface Stores {
  readonly ostree: OstreeImport | undefined;
  readonly composefs: ComposefsImport | undefined;
}

/** Has every file that a store wants read, of all layers. */
export class Reading {
  /** Those that can hold the image, as far as it is known. */
  stores: Stores;
  /** Why one of them can't. */
  refusal: OneholdError | undefined;
  readonly #context: HostContext;
  readonly #layers: readonly LayerToProject[];
  readonly #progress: ImportProgress;
  /** Ends a layer for ostree, where that was not possible before all layers were known. */
  readonly #unfinished: (() => void)[] = [];

  constructor(context: HostContext, layers: readonly LayerToProject[], stores: Stores, progress: ImportProgress) {
    this.#context = context;
    this.#layers = layers;
    this.stores = stores;
    this.#progress = progress;
  }

  async run(): Promise<void> {
    await using pool = new WorkerPool<Work, WorkDone>(workerEntry(this.#context.workers), availableParallelism());
    const pass = this.#makePass(pool);
    try {
      const parsed = await this.#guessPolicy();
      for (const [index, layer] of mostBytesFirst(this.#layers)) {
        const read = parsed.get(index) ?? (await this.#parse(index, layer));
        const { needs, finish } = this.#addLayer(pool, index, layer, read);
        await pass.give(layer.files, needs, finish);
      }
      await pass.finish();
      await this.#label(pass);
    } finally {
      // Workers must not go on writing into a staging folder that is being removed.
      await pass.settle();
    }
  }

  /** The labels of ostree's files are wanted before the first is read: the layers with the policy are parsed first. */
  async #guessPolicy(): Promise<ReadonlyMap<number, ParsedOrKnown>> {
    const { ostree } = this.stores;
    const parsed = new Map<number, ParsedOrKnown>();
    for (const index of ostree?.layersWithPolicy() ?? []) {
      const layer = this.#layers[index];
      if (layer !== undefined) parsed.set(index, await this.#parse(index, layer));
    }
    ostree?.guessPolicy([...parsed.values()].map(({ tree }) => tree));
    return parsed;
  }

  /** Every layer is known now, and with them the labels: what was read with another one is read again. */
  async #label(pass: FilePass): Promise<void> {
    this.stores.ostree?.merge();
    let again: FilesToRead[] = [];
    this.#withOstree((store) => (again = store.label()), ["corrupt", "unsupported"]);
    for (const { root, files } of again) {
      await pass.give(root, needsOf(files, []), () => undefined);
    }
    await pass.finish();
    if (this.stores.ostree !== undefined) for (const finish of this.#unfinished) finish();
  }

  #makePass(pool: WorkerPool<Work, WorkDone>): FilePass {
    const { ostree, composefs } = this.stores;
    return new FilePass({
      readFiles: readerOf(pool),
      parallel: availableParallelism() * 2,
      targets: {
        ostree: ostree?.target,
        composefs: composefs && { target: composefs.target, policy: composefs.policy },
      },
      onFile: (node, read) => {
        if (read.ostree !== undefined) ostree?.take(node, read.ostree);
        if (read.composefs !== undefined && node.kind === "file") composefs?.take(node, read.composefs);
      },
      onBytes: (bytes) => this.#progress.add(bytes),
      signal: this.#context.signal,
    });
  }

  async #parse(index: number, { record, diffId }: LayerToProject): Promise<ParsedOrKnown> {
    const { sysroot, signal } = this.#context;
    const { composefs } = this.stores;
    const entries = composefs?.knownLayer(index);
    if (entries !== undefined) {
      const { tree, contents } = await recallStream(record, index, entries, signal);
      return { tree, known: contents };
    }
    const remembered = composefs === undefined ? recallLayer(sysroot, diffId, index) : undefined;
    if (remembered !== undefined) return { tree: remembered.tree, remembered: remembered.ostree };
    return parseLayer(record, index, { signal, wantsContents: composefs !== undefined });
  }

  /** What has to be read of a layer, and what is to be done when it has been. */
  #addLayer(
    pool: WorkerPool<Work, WorkDone>,
    index: number,
    layer: LayerToProject,
    { tree, known, remembered, contents }: ParsedOrKnown,
  ): AddedLayer {
    const { composefs } = this.stores;
    let forOstree: ForOstree = new Map();
    const ostree = this.#withOstree((store) => (forOstree = store.addLayer(index, tree, remembered)), ["not-utf8"]);
    const needs = needsOf(forOstree, composefs?.addLayer(index, tree, known) ?? []);
    const finishOstree = () => {
      const objects = ostree?.finishLayer(index);
      if (objects !== undefined) rememberLayer(this.#context.sysroot, layer.diffId, { tree, ostree: objects });
    };
    this.#unfinished.push(finishOstree);
    const finish = async () => {
      finishOstree();
      if (composefs !== undefined && contents !== undefined) await stageStream(pool, composefs, index, layer, contents);
    };
    return { needs, finish };
  }

  /** What ostree can't hold concerns no other store: that goes on alone. `codes`: errors that say so. */
  #withOstree(act: (store: OstreeImport) => void, codes: readonly ErrorCode[]): OstreeImport | undefined {
    const { ostree, composefs } = this.stores;
    if (ostree === undefined) return undefined;
    try {
      act(ostree);
      return ostree;
    } catch (error) {
      if (composefs === undefined || !(error instanceof OneholdError) || !codes.includes(error.code)) throw error;
      this.refusal = error;
      this.stores = { ostree: undefined, composefs };
      return undefined;
    }
  }
}

/** A layer, and where that is known what earlier imports made of it. */
interface ParsedOrKnown {
  readonly tree: DirectoryNode;
  /** The files with content, in the tar's order: see ParsedLayer. */
  readonly contents?: readonly (FileNode | undefined)[];
  /** In the composefs repository. */
  readonly known?: ReadonlyMap<FileNode, FileContent>;
  readonly remembered?: LayerObjects | undefined;
}

interface AddedLayer {
  readonly needs: Iterable<[FileNode | SymlinkNode, FileNeeds]>;
  readonly finish: () => Promise<void>;
}

type ForOstree = ReadonlyMap<FileNode | SymlinkNode, FileToImport>;

/** Each file once, whoever wants it. Made one by one: of many files, a list of them takes much memory. */
function* needsOf(
  forOstree: ForOstree,
  forComposefs: readonly FileNode[],
): Generator<[FileNode | SymlinkNode, FileNeeds]> {
  const shared = new Set(forComposefs);
  for (const [node, ostree] of forOstree) {
    yield [node, node.kind === "file" && shared.has(node) ? { ostree, composefs: true } : { ostree }];
  }
  for (const node of forComposefs) if (!forOstree.has(node)) yield [node, { composefs: true }];
}

async function stageStream(
  pool: WorkerPool<Work, WorkDone>,
  composefs: ComposefsImport,
  index: number,
  { record }: LayerToProject,
  files: readonly (FileNode | undefined)[],
): Promise<void> {
  const contents = files.map((file): FileContent | undefined => file && composefs.contentOf(file));
  try {
    const done = await pool.run({ stream: { layer: record, ...composefs.place, contents } });
    if (!("stream" in done)) throw new Error("a worker answered what it was not asked");
    composefs.takeStream(index, done.stream);
  } catch (error) {
    if (!(error instanceof OneholdError) || (error.code !== "unsupported" && error.code !== "not-found")) throw error;
    composefs.takeRefusal(error);
  }
}
