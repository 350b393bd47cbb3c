import type { OneholdError } from "#base/errors.ts";
import { parseManifest } from "#formats/oci.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { beginSync } from "#linux/sync.ts";
import { layerChain } from "#stores/containers-storage/store.ts";
import type { HostContext, Operation } from "../operation.ts";
import { beginComposefs, type ComposefsProjection, findInComposefs, publishComposefs } from "./composefs.ts";
import { ImportProgress } from "./import-progress.ts";
import { layersOf } from "./layers.ts";
import { beginOstree, findInOstree, type OstreeProjection, publishOstree } from "./ostree.ts";
import { Reading } from "./reading.ts";
import type { ProjectionRequest } from "./request.ts";

/** What each of the backend's stores holds of an image; absent: the backend does not have that store. */
export interface Projections {
  readonly ostree?: OstreeProjection;
  readonly composefs?: ComposefsProjection;
  /** Why ostree can't hold the image, where another store got it. */
  readonly refusal?: OneholdError;
}

/**
 * Shares an image with the backend's stores, where they lack it; every file is read once for all. What one store can't
 * hold (names that are not UTF-8, a broken SELinux policy) does not keep it from another; files that can't be shared (`cannot-share`) keep it from all.
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
  // What has been written by now goes to the disk while commits and images are made.
  const flushing = flush(context.sysroot.path);
  staged.ostree?.stage();
  staged.composefs?.stage();
  await flushing;
  const made = {
    ostree: staged.ostree && publishOstree(operation, staged.ostree),
    composefs: staged.composefs && (await publishComposefs(operation, staged.composefs)),
  };
  progress.finish();
  const { refusal } = reading;
  return present({ ostree: made.ostree ?? there.ostree, composefs: made.composefs ?? there.composefs, refusal });
}

async function flush(directory: string): Promise<void> {
  using descriptor = openDirectory(directory);
  await beginSync(descriptor.fd);
}

function present({
  ostree,
  composefs,
  refusal,
}: { [Part in keyof Projections]: Projections[Part] | undefined }): Projections {
  return { ...(ostree ? { ostree } : {}), ...(composefs ? { composefs } : {}), ...(refusal ? { refusal } : {}) };
}
