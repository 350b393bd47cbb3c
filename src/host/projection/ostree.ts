import { displayBytes } from "#base/bytes.ts";
import { parseDigest } from "#base/digest.ts";
import type { ImageConfig, Manifest } from "#formats/oci.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { finalDiffIdLabel } from "#image/host-image.ts";
import type { SharingAccount } from "#sharing/account.ts";
import type { SharingMethod } from "#sharing/share.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import type { ImportResult } from "#stores/ostree/image-to-import.ts";
import { beginImport, type OstreeImport } from "#stores/ostree/import.ts";
import { imageRef, pinRef, writeRef } from "#stores/ostree/refs.ts";
import { openRepository, type Repository } from "#stores/ostree/repository.ts";
import type { HostContext, Operation } from "../operation.ts";
import type { LayerToProject } from "./layers.ts";
import type { ProjectionRequest } from "./request.ts";

/** What the ostree repository holds of an image, and how its bytes got there. */
export type OstreeProjection =
  | { readonly state: "present"; readonly commit: Checksum }
  | {
      readonly state: "imported";
      readonly commit: Checksum;
      readonly method: SharingMethod;
      readonly account: SharingAccount;
      readonly leftOut: { readonly special: readonly string[]; readonly byRule: Readonly<Record<string, number>> };
      readonly layers: { readonly imported: number; readonly present: number };
    };

/** The image in the repository; what is new of its names and pins is noted there. */
export function findInOstree(context: HostContext, request: ProjectionRequest): OstreeProjection | undefined {
  const repository = openRepository(context.sysroot.ostreeRepo);
  const there = listOstreeImages(repository).find((image) => image.manifestDigest === request.image.digest);
  if (there === undefined) return undefined;
  addRefs(repository, there, request);
  return { state: "present", commit: there.commit };
}

export function beginOstree(
  context: HostContext,
  request: ProjectionRequest,
  layers: readonly LayerToProject[],
  manifest: Manifest,
): Promise<OstreeImport> {
  const { reference, config, documents, pinned, image, allowCopy } = request;
  const { ostree: probe } = request.probes;
  if (probe === undefined) throw new Error("nobody has tried how to share with ostree");
  const finalDiffId = config.labels[finalDiffIdLabel];
  return beginImport(
    openRepository(context.sysroot.ostreeRepo),
    {
      reference,
      manifestDigest: image.digest,
      ...documents,
      created: createdAt(manifest, config),
      layers,
      ...(finalDiffId === undefined ? {} : { finalDiffId: parseDigest(finalDiffId) }),
      pinned,
    },
    {
      probe,
      allowCopy,
      onWait: () =>
        context.report({ kind: "notice", level: "info", text: "waiting for the lock of the ostree repository" }),
      signal: context.signal,
    },
  );
}

/** What was staged becomes part of the repository. */
export function publishOstree(operation: Operation, staged: OstreeImport): OstreeProjection {
  operation.stage("publishing");
  const { published } = staged.publish();
  operation.stage("refs");
  return { state: "imported", method: staged.target.policy.method, ...described(staged.writeRefs(published)) };
}

function addRefs(repository: Repository, there: OstreeImage, { reference, pinned, image }: ProjectionRequest): void {
  if (!there.references.includes(reference)) writeRef(repository, imageRef(reference), there.commit);
  const pin = pinRef(image.digest);
  if (pinned && !there.refs.includes(pin)) writeRef(repository, pin, there.commit);
}

/** When the image was made, as ostree-ext dates its commits. */
function createdAt(manifest: Manifest, config: ImageConfig): number {
  const text = manifest.annotations?.["org.opencontainers.image.created"] ?? config.created;
  const time = text === undefined ? Number.NaN : Date.parse(text);
  return Math.max(0, Math.floor((Number.isNaN(time) ? Date.now() : time) / 1000));
}

function described({ commit, account, leftOut, layersImported, layersPresent }: ImportResult) {
  return {
    commit,
    account,
    leftOut: {
      special: leftOut.special.map((path) => `/${displayBytes(path)}`),
      byRule: Object.fromEntries(leftOut.byRule),
    },
    layers: { imported: layersImported, present: layersPresent },
  };
}
