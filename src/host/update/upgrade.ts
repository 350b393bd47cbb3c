import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { demandOstree } from "#boot/deploy.ts";
import { parseConfig } from "#formats/oci.ts";
import { formatReference, type ImageReference } from "#image/reference.ts";
import { fetchConfig, inspectRemote, type RemoteManifest } from "#sources/inspect-remote.ts";
import { openImageStore } from "#stores/containers-storage/store.ts";
import { writeCachedUpdate } from "#stores/ostree/cached-update.ts";
import { openRepository } from "#stores/ostree/repository.ts";
import { type DeployedImage, deployImage, type DeployImageOptions } from "../deployment/deploy-image.ts";
import { inspectImage } from "../fetch.ts";
import { makeStores } from "../init.ts";
import { type HostContext, type Operation, runOperation } from "../operation.ts";
import { addPin } from "../pins.ts";
import { type FollowedDeployment, followedDeployment } from "./followed.ts";

export type UpdateOptions = Pick<DeployImageOptions, "source" | "tlsVerify" | "allowCopy">;

export interface UpdateResult {
  readonly image: string;
  readonly before: Digest;
  readonly digest: Digest;
  /** undefined: nothing was to be done. */
  readonly deployed: DeployedImage | undefined;
}

/** Brings the image that the host follows, where its registry has another one now, and deploys it. */
export function upgrade(context: HostContext, options: UpdateOptions): Promise<UpdateResult> {
  demandOstree();
  const { reference } = followedDeployment(context.sysroot);
  return runOperation(context, { verb: "upgrade", subject: formatReference(reference) }, async (operation) => {
    await makeStores(context, { backend: undefined, composefs: undefined });
    const followed = followedDeployment(context.sysroot);
    return follow(context, operation, followed, { ...options, image: followed.reference });
  });
}

export interface SwitchOptions extends UpdateOptions {
  readonly image: ImageReference;
  /** Keep the image that is deployed now, whatever is removed later. */
  readonly retain: boolean;
}

/** Has the host follow another image, and deploys it. Where it follows that one already, it is an upgrade. */
export function switchImage(context: HostContext, options: SwitchOptions): Promise<UpdateResult> {
  demandOstree();
  followedDeployment(context.sysroot);
  const subject = formatReference(options.image);
  return runOperation(context, { verb: "switch", subject }, async (operation) => {
    await makeStores(context, { backend: undefined, composefs: undefined });
    const followed = followedDeployment(context.sysroot);
    const result = await follow(context, operation, followed, options);
    if (options.retain) addPin(context.sysroot, followed.digest, formatReference(followed.reference));
    return result;
  });
}

async function follow(
  context: HostContext,
  operation: Operation,
  followed: FollowedDeployment,
  options: UpdateOptions & { readonly image: ImageReference },
): Promise<UpdateResult> {
  const { image } = options;
  const name = formatReference(image);
  const remote = (await inspectImage(context, openImageStore(context.sysroot.imageStore), image, options)).remote;
  const isFollowed = name === formatReference(followed.reference);
  const result = { image: name, before: followed.digest };
  if (isFollowed && remote?.digest === followed.digest)
    return { ...result, digest: followed.digest, deployed: undefined };
  const deployed = await deployImage(context, operation, {
    ...options,
    follows: image,
    stateroot: followed.deployment.stateroot,
    first: false,
    boundImages: "pull",
    kernelArguments: followed.kernelArguments,
  });
  return { ...result, digest: deployed.pulled.digest, deployed };
}

export interface UpdateCheck {
  readonly image: string;
  readonly before: Digest;
  /** undefined: the host has what its registry has. */
  readonly update: (Pick<RemoteManifest, "digest" | "size"> & { readonly version: string | undefined }) | undefined;
}

/** Asks the registry, fetches no layers, and notes what it found where `status` and bootc look for it. */
export function checkForUpdate(
  context: HostContext,
  { tlsVerify }: Pick<UpdateOptions, "tlsVerify">,
): Promise<UpdateCheck> {
  const { sysroot, signal } = context;
  followedDeployment(sysroot);
  return runOperation(context, { verb: "upgrade --check" }, async () => {
    const { reference, digest, deployment } = followedDeployment(sysroot);
    const image = formatReference(reference);
    const remote = await inspectRemote(reference, { tlsVerify, signal });
    if (remote === undefined) {
      throw new OneholdError("program-missing", `${image} can't be looked at without skopeo`, {
        subject: "skopeo",
        hint: "Install the package skopeo.",
      });
    }
    const config = await fetchConfig(reference, remote, { tlsVerify, signal });
    const repository = openRepository(sysroot.ostreeRepo);
    const found = { manifestDigest: remote.digest, manifest: remote.bytes, config };
    writeCachedUpdate(repository, deployment.checksum, found);
    const { labels } = parseConfig(config);
    const version = labels["org.opencontainers.image.version"];
    const update = remote.digest === digest ? undefined : { digest: remote.digest, size: remote.size, version };
    return { image, before: digest, update };
  });
}
