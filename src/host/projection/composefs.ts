import { bytesOf } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { type FileNode, pathOf } from "#image/tree.ts";
import { readBeneath } from "#linux/beneath.ts";
import type { SharingAccount } from "#sharing/account.ts";
import type { SharingMethod } from "#sharing/share.ts";
import { beginImport, type ComposefsImport } from "#stores/composefs/import.ts";
import { readImage } from "#stores/composefs/oci-images.ts";
import { writeTag } from "#stores/composefs/streams.ts";
import { openRepository } from "#stores/composefs/repository.ts";
import type { HostContext, Operation } from "../operation.ts";
import { pinTagOf } from "../root-set.ts";
import type { LayerToProject } from "./layers.ts";
import type { ProjectionRequest } from "./request.ts";

/** An image of the tree, by the names that a config's stream has for it: `composefs.image.boot.v1` and the like. */
export type ComposefsImages = Readonly<Record<string, ObjectId>>;

/** What the composefs repository holds of an image, and how its bytes got there. */
export type ComposefsProjection =
  | { readonly state: "present"; readonly images: ComposefsImages }
  | {
      readonly state: "imported";
      readonly images: ComposefsImages;
      readonly method: SharingMethod;
      readonly account: SharingAccount;
      readonly layers: { readonly imported: number; readonly present: number };
      /** Why the tree has no image, or none to boot. */
      readonly refused: readonly string[];
    };

/** The image in the repository, whole; a name that is new is noted there. */
export async function findInComposefs(
  context: HostContext,
  request: ProjectionRequest,
): Promise<ComposefsProjection | undefined> {
  const repository = openRepository(context.sysroot.composefs);
  const there = await readImage(repository, request.image.digest).catch((error: unknown) => {
    // What is damaged is made anew.
    if (error instanceof OneholdError && error.code === "corrupt") return undefined;
    throw error;
  });
  if (there === undefined || ![...there.erofs.keys()].some((name) => name.startsWith("composefs.image.boot"))) {
    return undefined;
  }
  for (const tag of tagsOf(request)) writeTag(repository, tag, request.image.digest);
  return { state: "present", images: Object.fromEntries(there.erofs) };
}

export function beginComposefs(
  context: HostContext,
  request: ProjectionRequest,
  layers: readonly LayerToProject[],
): Promise<ComposefsImport> {
  const { composefs: probe } = request.probes;
  if (probe === undefined) throw new Error("nobody has tried how to share with composefs");
  return beginImport(
    openRepository(context.sysroot.composefs),
    { ...request.documents, diffIds: layers.map(({ diffId }) => diffId), tags: tagsOf(request) },
    {
      probe,
      allowCopy: request.allowCopy,
      sealSources: request.allowVerity,
      readFile: (file) => readLayerFile(layers, file),
      onWait: () =>
        context.report({ kind: "notice", level: "info", text: "waiting for the lock of the composefs repository" }),
      signal: context.signal,
    },
  );
}

/** What was staged becomes part of the repository. */
export async function publishComposefs(operation: Operation, staged: ComposefsImport): Promise<ComposefsProjection> {
  operation.stage("composefs");
  const { images, refused, account, layersImported, layersPresent } = await staged.publish();
  return {
    state: "imported",
    images,
    method: staged.policy.method,
    account,
    layers: { imported: layersImported, present: layersPresent },
    refused: refused.map((error) => error.message),
  };
}

/** The repository's roots: whoever sweeps it keeps what has a tag. */
function tagsOf({ reference, pinned, image }: ProjectionRequest): string[] {
  return pinned ? [reference, pinTagOf(image.digest)] : [reference];
}

function readLayerFile(layers: readonly LayerToProject[], file: FileNode): Buffer {
  const layer = layers[file.layer];
  if (layer === undefined) throw new Error(`there is no layer ${file.layer}`);
  return readBeneath(layer.files, bytesOf(pathOf(file)), file.size);
}
