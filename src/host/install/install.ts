import fs from "node:fs";
import path from "node:path";
import { byteStringOfText } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { cleanUpDeployments, demandOstree, demandStaterootName, deployCommit, makeStateroot } from "#boot/deploy.ts";
import { formatOrigin } from "#boot/deploy-origin.ts";
import { splitArguments } from "#boot/kernel-arguments-of-image.ts";
import { parseConfig } from "#formats/oci.ts";
import { formatReference, type ImageReference, storedName } from "#image/reference.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { syncfs } from "#linux/sync.ts";
import { nameImage } from "#sources/name-image.ts";
import { readConfig } from "#stores/containers-storage/images.ts";
import { findImage, openImageStore } from "#stores/containers-storage/store.ts";
import { CommitFiles } from "#stores/ostree/commit-files.ts";
import { deleteRef, imageRef, writeRef } from "#stores/ostree/refs.ts";
import { createRepository, openRepository } from "#stores/ostree/repository.ts";
import { type DeploymentRecord, writeDeploymentRecord } from "../deployment-records.ts";
import { makeStores } from "../init.ts";
import { type HostContext, type Operation, runOperation } from "../operation.ts";
import { bringImage, type PullOptions, type PullResult } from "../pull.ts";
import { type Stopwatch, stopwatch } from "../stopwatch.ts";
import { writeAleph } from "./aleph.ts";
import { clearDeployments, isBegun, markBegun, markEnded } from "./beginning.ts";
import { adviseOnStorageLink, demandBootable, imageKernelArguments } from "./bootable.ts";
import { type BoundImagesFrom, boundImagesOf, fetchBoundImages } from "./bound-images.ts";
import { reportStaging } from "./staging-progress.ts";
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

export interface InstallResult {
  readonly root: string;
  readonly image: string;
  readonly targetImage: string;
  readonly digest: Digest;
  readonly stateroot: string;
  /** `<checksum>.<serial>` */
  readonly deployment: string;
  readonly kernelArguments: readonly string[];
  readonly boundImages: DeploymentRecord["boundImages"];
  readonly ostree: NonNullable<PullResult["ostree"]>;
  readonly bytes: PullResult["bytes"];
  readonly milliseconds: Readonly<Record<string, number>>;
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
    const clock = stopwatch("image", "pull", "sync", "deploy");
    const begun = isBegun(sysroot);
    // Again, now that nobody else can write there.
    demandEmpty(sysroot, begun);
    if (begun) await clearDeployments(context);
    markBegun(sysroot, image);
    operation.stage("stores");
    createRepository(sysroot.ostreeRepo, sysrootSettings);
    await makeStores(context, { backend: "ostree", composefs: undefined });
    const pulled = await clock.time("image", () =>
      bringImage(context, operation, {
        ...options,
        reference: options.image,
        pin: false,
        host: false,
        allowVerity: false,
      }),
    );
    const { ostree } = pulled;
    if (ostree === undefined) throw noHostImage(image);
    operation.stage("checking");
    const files = new CommitFiles(openRepository(sysroot.ostreeRepo), ostree.commit);
    demandBootable(files, image);
    const kernelArguments = [...target.rootArguments, ...imageKernelArguments(files), ...ownArguments];
    const staging = reportStaging(context.report);
    const boundImages = await bindImages(context, operation, files, { ...options, clock });
    staging.done("bound_images");
    operation.stage("naming");
    const targetImage = options.targetImage ?? options.image;
    if (formatReference(targetImage) !== image) await renameImage(context, options.image, targetImage, pulled);
    const deployment = await clock.time("deploy", async () => {
      operation.stage("stateroot");
      await makeStateroot({ path: sysroot.path, signal }, options.stateroot, {
        commit: ostree.commit,
        hasVariable: files.find(byteStringOfText("var"))?.kind === "directory",
      });
      operation.stage("deploying");
      const name = `${ostree.commit}.0`;
      await deployCommit(
        { path: sysroot.path, signal },
        {
          stateroot: options.stateroot,
          commit: ostree.commit,
          origin: formatOrigin(targetImage),
          kernelArguments,
          temporary: sysroot.state.temporary,
        },
      );
      addBootMount(sysroot.path, options.stateroot, name, target.bootMount);
      staging.done("deploying");
      operation.stage("deployed");
      writeDeploymentRecord(sysroot, name, { digest: pulled.digest, reference: image, boundImages });
      await cleanUpDeployments({ path: sysroot.path, signal });
      staging.done("cleanup");
      return name;
    });
    operation.stage("finishing");
    finish(context, options.image, targetImage, pulled.digest);
    return {
      root: sysroot.path,
      image,
      targetImage: formatReference(targetImage),
      digest: pulled.digest,
      stateroot: options.stateroot,
      deployment,
      kernelArguments,
      boundImages,
      ostree,
      bytes: pulled.bytes,
      milliseconds: clock.result(),
    };
  });
}

async function bindImages(
  context: HostContext,
  operation: Operation,
  files: CommitFiles,
  { boundImages: from, tlsVerify, clock }: InstallOptions & { readonly clock: Stopwatch<"pull" | "sync"> },
): Promise<DeploymentRecord["boundImages"]> {
  const wanted = boundImagesOf(files);
  if (from === "skip" || wanted.length === 0) return [];
  adviseOnStorageLink(files, context.report);
  return fetchBoundImages(context, operation, wanted, { from, tlsVerify, clock });
}

/** As bootc has it: libostree writes boot entries and leaves the boot loader alone; /sysroot is read-only when booted. */
const sysrootSettings = "[sysroot]\nbootloader=none\nbootprefix=true\nreadonly=true\n";

function noHostImage(image: string): OneholdError {
  return new OneholdError("unsupported", `${image} is not an image of a host: it has no label containers.bootc`, {
    subject: image,
    hint: "Build it with `LABEL containers.bootc 1`, on a base that has a kernel.",
  });
}

/** The host follows another name: the stores know the image by that one, as bootc's clean-up expects, and by no other. */
async function renameImage(
  { sysroot, report, signal }: HostContext,
  source: ImageReference,
  target: ImageReference,
  { digest, ostree }: PullResult,
): Promise<void> {
  const repository = openRepository(sysroot.ostreeRepo);
  if (ostree !== undefined) writeRef(repository, imageRef(formatReference(target)), ostree.commit);
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
function addBootMount(root: string, stateroot: string, deployment: string, line: string | undefined): void {
  if (line === undefined) return;
  const fstab = path.join(root, "ostree/deploy", stateroot, "deploy", deployment, "etc/fstab");
  const text = fs.existsSync(fstab) ? fs.readFileSync(fstab, "utf8") : "";
  fs.writeFileSync(fstab, `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${line}\n`);
}

/** Everything on disk, then the record; last of all the mark goes. */
function finish({ sysroot }: HostContext, source: ImageReference, target: ImageReference, digest: Digest): void {
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
    selinux: "disabled",
  });
  markEnded(sysroot);
}

/** As bootc names images. */
function nameOf(reference: ImageReference): string {
  return reference.transport === "registry" ? reference.name : formatReference(reference);
}
