import { availableParallelism } from "node:os";
import { OneholdError } from "#base/errors.ts";
import { parseManifest } from "#formats/oci.ts";
import type { FileContent } from "#formats/splitstream-layer.ts";
import type { FileNode, SymlinkNode } from "#image/tree.ts";
import { WorkerPool } from "#linux/worker-pool.ts";
import type { ComposefsImport } from "#stores/composefs/import.ts";
import { layerChain } from "#stores/containers-storage/store.ts";
import type { OstreeImport } from "#stores/ostree/import.ts";
import type { HostContext, Operation } from "../operation.ts";
import { beginComposefs, type ComposefsProjection, findInComposefs, publishComposefs } from "./composefs.ts";
import type { FileNeeds } from "./file-batches.ts";
import { FilePass } from "./file-pass.ts";
import { ImportProgress } from "./import-progress.ts";
import { recallLayer, rememberLayer } from "./layer-memory.ts";
import { layersOf, type LayerToProject, mostBytesFirst, parseLayer, recallStream } from "./layers.ts";
import { beginOstree, findInOstree, type OstreeProjection, publishOstree } from "./ostree.ts";
import type { ProjectionRequest } from "./request.ts";
import { type Work, type WorkDone, workerEntry } from "./work.ts";

/** What each of the backend's stores holds of an image; absent: the backend does not have that store. */
export interface Projections {
  readonly ostree?: OstreeProjection;
  readonly composefs?: ComposefsProjection;
  /** Why ostree can't hold the image, where another store got it. */
  readonly refusal?: OneholdError;
}

/**
 * Shares an image with the backend's stores, where they lack it; every file is read once for all. What one store can't
 * hold (`not-utf8` in ostree) does not keep it from another; files that can't be shared (`cannot-share`) keep it from all.
 */
export async function project(
  context: HostContext,
  operation: Operation,
  request: ProjectionRequest,
): Promise<Projections> {
  const { backend } = context.sysroot;
  const there = {
    ostree: backend === "composefs" ? undefined : findInOstree(context, request),
    composefs: backend === "ostree" ? undefined : await findInComposefs(context, request),
  };
  const lacks = {
    ostree: backend !== "composefs" && there.ostree === undefined,
    composefs: backend !== "ostree" && there.composefs === undefined,
  };
  if (!lacks.ostree && !lacks.composefs) return present(there);
  const manifest = parseManifest(request.documents.manifest);
  const layers = layersOf(layerChain(request.store, request.image), manifest, request.config);
  using imports = new DisposableStack();
  const ostree = lacks.ostree ? imports.use(await beginOstree(context, request, layers, manifest)) : undefined;
  const composefs = lacks.composefs ? imports.use(await beginComposefs(context, request, layers)) : undefined;
  operation.stage("sharing");
  const unread = layers.filter((_, i) => ostree?.hasLayer(i) === false || composefs?.hasLayer(i) === false);
  const progress = new ImportProgress(
    context,
    request.name,
    unread.map(({ record }) => record.diffSize),
  );
  const reading = new Reading(context, layers, { ostree, composefs }, progress);
  await reading.run();
  const staged = reading.stores;
  staged.ostree?.stage();
  staged.composefs?.stage();
  const made = {
    ostree: staged.ostree && publishOstree(operation, staged.ostree),
    composefs: staged.composefs && (await publishComposefs(operation, staged.composefs)),
  };
  progress.finish();
  const { refusal } = reading;
  return present({ ostree: made.ostree ?? there.ostree, composefs: made.composefs ?? there.composefs, refusal });
}

function present({
  ostree,
  composefs,
  refusal,
}: { [Part in keyof Projections]: Projections[Part] | undefined }): Projections {
  return { ...(ostree ? { ostree } : {}), ...(composefs ? { composefs } : {}), ...(refusal ? { refusal } : {}) };
}

interface Stores {
  readonly ostree: OstreeImport | undefined;
  readonly composefs: ComposefsImport | undefined;
}

/** Has every file that a store wants read, of all layers. */
class Reading {
  /** Those that can hold the image, as far as it is known. */
  stores: Stores;
  /** Why one of them can't. */
  refusal: OneholdError | undefined;
  readonly #context: HostContext;
  readonly #layers: readonly LayerToProject[];
  readonly #progress: ImportProgress;

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
      for (const [index, layer] of mostBytesFirst(this.#layers)) {
        const { needs, finish } = await this.#addLayer(pool, index, layer);
        await pass.give(layer.files, needs, finish);
      }
      await pass.finish();
    } finally {
      // Workers must not go on writing into a staging folder that is being removed.
      await pass.settle();
    }
  }

  #makePass(pool: WorkerPool<Work, WorkDone>): FilePass {
    const { ostree, composefs } = this.stores;
    return new FilePass({
      readFiles: async (files) => {
        const done = await pool.run({ files });
        if ("files" in done) return done.files;
        throw new Error("a worker answered what it was not asked");
      },
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

  /** What has to be read of a layer, and what is to be done when it has been. */
  async #addLayer(pool: WorkerPool<Work, WorkDone>, index: number, layer: LayerToProject): Promise<AddedLayer> {
    const { sysroot, signal } = this.#context;
    const { composefs } = this.stores;
    const entries = composefs?.knownLayer(index);
    const known = entries && (await recallStream(layer.record, index, entries, signal));
    const remembered = composefs === undefined ? recallLayer(sysroot, layer.diffId, index) : undefined;
    const parsed =
      known || remembered
        ? undefined
        : await parseLayer(layer.record, index, { signal, wantsContents: composefs !== undefined });
    const tree = known?.tree ?? remembered?.tree ?? parsed?.tree;
    if (tree === undefined) throw new Error("a layer was not parsed");
    const needs = new Map<FileNode | SymlinkNode, FileNeeds>();
    const need = (node: FileNode | SymlinkNode, of: FileNeeds) => needs.set(node, { ...needs.get(node), ...of });
    const ostree = this.#withOstree((store) => {
      for (const [node, wanted] of store.addLayer(index, tree, remembered?.ostree)) need(node, { ostree: wanted });
    });
    for (const node of composefs?.addLayer(index, tree, known?.contents) ?? []) need(node, { composefs: true });
    const finish = async () => {
      ostree?.finishLayer(index);
      const objects = ostree?.objectsOfLayer(index);
      if (objects !== undefined && objects.commit !== remembered?.ostree?.commit)
        rememberLayer(sysroot, layer.diffId, { tree, ostree: objects });
      if (composefs !== undefined && parsed !== undefined)
        await stageStream(pool, composefs, index, layer, parsed.contents);
    };
    return { needs, finish };
  }

  /** A name that ostree can't hold concerns no other store: that goes on alone. */
  #withOstree(act: (store: OstreeImport) => void): OstreeImport | undefined {
    const { ostree, composefs } = this.stores;
    if (ostree === undefined) return undefined;
    try {
      act(ostree);
      return ostree;
    } catch (error) {
      if (composefs === undefined || !(error instanceof OneholdError) || error.code !== "not-utf8") throw error;
      this.refusal = error;
      this.stores = { ostree: undefined, composefs };
      return undefined;
    }
  }
}

interface AddedLayer {
  readonly needs: ReadonlyMap<FileNode | SymlinkNode, FileNeeds>;
  readonly finish: () => Promise<void>;
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
