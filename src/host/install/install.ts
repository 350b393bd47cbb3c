import fs from "node:fs";
import path from "node:path";
import type { Digest } from "#base/digest.ts";
import { demandOstree, demandStaterootName } from "#boot/deploy.ts";
import { splitArguments } from "#boot/kernel-arguments-of-image.ts";
import { parseConfig } from "#formats/oci.ts";
import { formatReference, type ImageReference, storedName } from "#image/reference.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { nameImage } from "#sources/name-image.ts";
import { readConfig } from "#stores/containers-storage/images.ts";
import { findImage, openImageStore } from "#stores/containers-storage/store.ts";
import { deleteRef, imageRef, writeRef } from "#stores/ostree/refs.ts";
import { createRepository, openRepository } from "#stores/ostree/repository.ts";
import { type HostImage, imageKernelArguments } from "../deployment/bootable.ts";
import type { BoundImagesFrom } from "../deployment/bound-images.ts";
import { type DeployedImage, deployImage } from "../deployment/deploy-image.ts";
import { makeStores } from "../init.ts";
import { type HostContext, runOperation } from "../operation.ts";
import type { PullOptions } from "../pull.ts";
import { writeAleph } from "./aleph.ts";
import { clearDeployments, isBegun, markBegun, markEnded } from "./beginning.ts";
import { demandEmpty, inspectTarget } from "./target.ts";

export interface InstallOptions extends Pick<PullOptions, "source" | "tlsVerify" | "allowCopy"> {
  readonly image: ImageReference;
  /** What the host follows, where that is not where the image came from. */
  readonly targetImage: ImageReference | undefined;
  readonly stateroot: string;
  /** As the user wrote them; one may hold several. */
  readonly kernelArguments: readonly string[];
  readonly boundImages: BoundImagesFrom;
}

export interface InstallResult extends Omit<DeployedImage, "pulled">, Pick<HostImage, "bytes" | "ostree"> {
  readonly root: string;
  readonly image: string;
  readonly targetImage: string;
  readonly digest: Digest;
  readonly stateroot: string;
}

/**
 * Makes the sysroot, a file system with nothing on it, one that boots an image: stores, image, bound images, stateroot,
 * deployment, boot entry. One that was killed is finished by the next, of whichever image.
 */
export async function install(context: HostContext, options: InstallOptions): Promise<InstallResult> {
  const { sysroot, signal } = context;
  demandOstree();
  demandStaterootName(options.stateroot);
  const ownArguments = options.kernelArguments.flatMap(splitArguments);
  demandEmpty(sysroot, isBegun(sysroot));
  const target = await inspectTarget(sysroot.path, signal);
  const image = formatReference(options.image);
  return runOperation(context, { verb: "install to-filesystem", subject: image }, async (operation) => {
    const begun = isBegun(sysroot);
    // Again, now that nobody else can write there.
    demandEmpty(sysroot, begun);
    if (begun) await clearDeployments(context);
    markBegun(sysroot, image);
    operation.stage("stores");
    createRepository(sysroot.ostreeRepo, sysrootSettings);
    await makeStores(context, { backend: "ostree", composefs: undefined });
    const follows = options.targetImage ?? options.image;
    const { pulled, ...deployed } = await deployImage(context, operation, {
      ...options,
      follows,
      first: true,
      kernelArguments: (files) => [...target.rootArguments, ...imageKernelArguments(files), ...ownArguments],
      onImage(brought) {
        operation.stage("naming");
        return formatReference(follows) === image ? undefined : renameImage(context, options.image, follows, brought);
      },
      onDeployed: ({ directory }) => addBootMount(directory, target.bootMount),
    });
    operation.stage("finishing");
    finish(context, options.image, follows, { ...deployed, digest: pulled.digest });
    return {
      root: sysroot.path,
      image,
      targetImage: formatReference(follows),
      digest: pulled.digest,
      stateroot: options.stateroot,
      ...deployed,
      ostree: pulled.ostree,
      bytes: pulled.bytes,
    };
  });
}

/** As bootc has it: libostree writes boot entries and leaves the boot loader alone; /sysroot is read-only when booted. */
const sysrootSettings = "[sysroot]\nbootloader=none\nbootprefix=true\nreadonly=true\n";

/**
 * The host follows another name than the image came by: ostree knows the image by that alone, as bootc does, and the
 * image store by that too, or bootc's clean-up would take it for one that nobody needs.
 */
async function renameImage(
  { sysroot, report, signal }: HostContext,
  source: ImageReference,
  target: ImageReference,
  { digest, ostree }: HostImage,
): Promise<void> {
  const repository = openRepository(sysroot.ostreeRepo);
  writeRef(repository, imageRef(formatReference(target)), ostree.commit);
  deleteRef(repository, imageRef(formatReference(source)));
  const image = findImage(openImageStore(sysroot.imageStore), { digest });
  const name = storedName(target);
  if (image !== undefined && (await nameImage(sysroot.imageStore, { imageId: image.id, name, signal }))) return;
  report({
    kind: "notice",
    level: "warning",
    text: `the image store knows the image as ${storedName(source)} only: ${name} needs podman`,
  });
}

/** Where /boot is a file system of its own, nothing else tells the host to mount it. */
function addBootMount(deployment: string, line: string | undefined): void {
  if (line === undefined) return;
  const fstab = path.join(deployment, "etc/fstab");
  const text = fs.existsSync(fstab) ? fs.readFileSync(fstab, "utf8") : "";
  fs.writeFileSync(fstab, `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${line}\n`);
}

/** Everything on disk, then the record; last of all the mark goes. */
function finish(
  { sysroot }: HostContext,
  source: ImageReference,
  target: ImageReference,
  { digest, selinux }: { readonly digest: Digest; readonly selinux: boolean },
): void {
  const image = findImage(openImageStore(sysroot.imageStore), { digest });
  if (image === undefined) throw new Error(`${digest} was installed and is not in the image store`);
  {
    using root = openDirectory(sysroot.path);
    syncfs(root.fd);
  }
  writeAleph(sysroot.path, {
    image: nameOf(source),
    targetImage: nameOf(target),
    digest,
    config: parseConfig(readConfig(image)),
    selinux: selinux ? "enabled" : "disabled",
  });
  markEnded(sysroot);
}

/** As bootc names images. */
function nameOf(reference: ImageReference): string {
  return reference.transport === "registry" ? reference.name : formatReference(reference);
}
