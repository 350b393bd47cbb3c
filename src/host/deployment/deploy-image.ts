import { byteStringOfText } from "#base/bytes.ts";
import { cleanUpDeployments, deployCommit, makeStateroot } from "#boot/deploy.ts";
import { formatOrigin } from "#boot/deploy-origin.ts";
import { type Deployment, readDeployments } from "#boot/deployments.ts";
import { demandShortCommandLine } from "#boot/kernel-arguments-of-image.ts";
import type { ImageReference } from "#image/reference.ts";
import { CommitFiles } from "#stores/ostree/commit-files.ts";
import { openRepository } from "#stores/ostree/repository.ts";
import type { HostContext, Operation } from "../operation.ts";
import { bringImage, type PullOptions } from "../pull.ts";
import { stopwatch } from "../stopwatch.ts";
import { adviseOnStorageLink, demandBootable, demandHostImage, type HostImage } from "./bootable.ts";
import { type BoundImagesFrom, boundImagesOf, fetchBoundImages } from "./bound-images.ts";
import { policyOfCommit } from "./commit-policy.ts";
import { type DeploymentRecord, pruneDeploymentRecords, writeDeploymentRecord } from "./records.ts";
import { labelImageStore } from "./store-labels.ts";
import { reportStaging } from "./staging-progress.ts";

export interface DeployImageOptions extends Pick<PullOptions, "source" | "tlsVerify" | "allowCopy"> {
  readonly image: ImageReference;
  /** What the deployment follows. */
  readonly follows: ImageReference;
  readonly stateroot: string;
  /** The first of its stateroot, which is made; else /etc is merged with that of the one that boots now. */
  readonly first: boolean;
  readonly boundImages: BoundImagesFrom;
  readonly kernelArguments: (files: CommitFiles) => readonly string[];
  /** When the image is in the stores, and nothing is deployed yet. */
  readonly onImage?: (pulled: HostImage) => Promise<void> | void;
  /** When the deployment is there, and not yet said to be whole. */
  readonly onDeployed?: (deployment: Deployment) => void;
}

export interface DeployedImage {
  readonly pulled: HostImage;
  /** `<checksum>.<serial>` */
  readonly deployment: string;
  readonly kernelArguments: readonly string[];
  readonly boundImages: DeploymentRecord["boundImages"];
  /** Whether the image has a policy that labels its files. */
  readonly selinux: boolean;
  readonly milliseconds: Readonly<Record<"image" | "boundImages" | "deploy" | "total", number>>;
}

/**
 * Pulls an image and its bound images, and deploys it at once, as what boots next. Whatever fails, nothing is deployed;
 * what was pulled stays for the next try.
 */
export async function deployImage(
  context: HostContext,
  operation: Operation,
  options: DeployImageOptions,
): Promise<DeployedImage> {
  const { sysroot, signal, report } = context;
  const { stateroot, tlsVerify } = options;
  const clock = stopwatch("image", "boundImages", "deploy");
  const pull = { ...options, reference: options.image, pin: false, host: false, allowVerity: false };
  const pulled = demandHostImage(await clock.time("image", () => bringImage(context, operation, pull)));
  operation.stage("checking");
  const { commit } = pulled.ostree;
  const files = new CommitFiles(openRepository(sysroot.ostreeRepo), commit);
  demandBootable(files, pulled.reference);
  const kernelArguments = options.kernelArguments(files);
  demandShortCommandLine(kernelArguments);
  const wanted = options.boundImages === "skip" ? [] : boundImagesOf(files);
  const staging = reportStaging(report);
  if (wanted.length > 0) adviseOnStorageLink(files, report);
  const boundImages = await clock.time("boundImages", () =>
    fetchBoundImages(context, operation, wanted, { from: options.boundImages, tlsVerify }),
  );
  staging.done("bound_images");
  const policy = policyOfCommit(files);
  if ("contexts" in policy) {
    operation.stage("labels");
    labelImageStore(context, policy.contexts);
  }
  await options.onImage?.(pulled);
  const deployment = await clock.time("deploy", async () => {
    const place = { path: sysroot.path, signal };
    if (options.first) {
      operation.stage("stateroot");
      const hasVariable = files.find(byteStringOfText("var"))?.kind === "directory";
      await makeStateroot(place, stateroot, { commit, hasVariable });
    }
    operation.stage("deploying");
    await deployCommit(place, {
      stateroot,
      commit,
      origin: formatOrigin(options.follows),
      kernelArguments,
      merges: !options.first,
      temporary: sysroot.state.temporary,
    });
    const deployed = nextToBoot(sysroot.path, commit);
    options.onDeployed?.(deployed);
    staging.done("deploying");
    const name = `${deployed.checksum}.${deployed.serial}`;
    writeDeploymentRecord(sysroot, name, { digest: pulled.digest, reference: pulled.reference, boundImages });
    operation.stage("deployed");
    await cleanUpDeployments(place);
    pruneDeploymentRecords(sysroot);
    staging.done("cleanup");
    return name;
  });
  return {
    pulled,
    deployment,
    kernelArguments,
    boundImages,
    selinux: "contexts" in policy,
    milliseconds: clock.result(),
  };
}

function nextToBoot(sysroot: string, commit: string): Deployment {
  const [next] = readDeployments(sysroot, "/").deployments;
  if (next?.checksum === commit) return next;
  throw new Error(`libostree deployed ${commit}, but ${next?.checksum ?? "nothing"} boots next`);
}
