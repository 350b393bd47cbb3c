import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { updateArguments } from "#boot/kernel-arguments-of-image.ts";
import { type Deployment, readDeployments } from "#boot/deployments.ts";
import type { OriginImage } from "#boot/origin.ts";
import { type ImageReference, parseReference } from "#image/reference.ts";
import { CommitFiles } from "#stores/ostree/commit-files.ts";
import { imageOfCommit } from "#stores/ostree/committed-image.ts";
import { openRepository } from "#stores/ostree/repository.ts";
import { imageKernelArguments } from "../deployment/bootable.ts";
import type { Sysroot } from "../sysroot.ts";

/** The deployment that boots next, which is what the next version follows. */
export interface FollowedDeployment {
  readonly deployment: Deployment;
  /** What it follows. */
  readonly reference: ImageReference;
  /** Of the image that it was made of. */
  readonly digest: Digest;
  /** What a version with these files boots with. */
  readonly kernelArguments: (files: CommitFiles) => string[];
}

/**
 * The deployments of a host that does not run, in boot order.
 * @throws OneholdError "corrupt" where libostree could not read them, "not-found", "unsupported" for the host that runs
 */
export function restingDeployments(sysroot: Sysroot): readonly Deployment[] {
  const { deployments, problems } = readDeployments(sysroot.path, "/");
  const [problem] = problems;
  if (problem !== undefined) throw problem;
  if (deployments.length === 0) {
    throw new OneholdError("not-found", `${sysroot.path} has no deployment`, {
      subject: sysroot.path,
      hint: "Make a host there with `onehold install to-filesystem`, or name another place with --sysroot.",
    });
  }
  if (!deployments.some(({ booted }) => booted)) return deployments;
  throw new OneholdError("unsupported", `the host that runs was booted from ${sysroot.path}`, {
    subject: sysroot.path,
    hint: "Onehold changes hosts that do not run, by --sysroot; `bootc` or `ostree admin` changes this one.",
  });
}

/** @throws OneholdError as `restingDeployments`; "unsupported" where it follows what Onehold can't */
export function followedDeployment(sysroot: Sysroot): FollowedDeployment {
  const [deployment] = restingDeployments(sysroot);
  if (deployment === undefined) throw new Error("no deployment, and no error");
  const { origin, checksum, kernelArguments } = deployment;
  const repository = openRepository(sysroot.ostreeRepo);
  const image = imageOfCommit(repository, deployment.checksum);
  const follows = origin?.image ?? undefined;
  if (image === undefined || follows === undefined) {
    throw unsupported(deployment, "follows no container image");
  }
  if (origin?.changedLocally === true) throw unsupported(deployment, "was changed by rpm-ostree");
  return {
    deployment,
    reference: referenceOf(deployment, follows),
    digest: image.manifestDigest,
    kernelArguments(files) {
      const before = imageKernelArguments(new CommitFiles(repository, checksum));
      return updateArguments(kernelArguments, { before, after: imageKernelArguments(files) });
    },
  };
}

function referenceOf(deployment: Deployment, { transport, name, verification }: OriginImage): ImageReference {
  if (verification === "unverified")
    return parseReference(transport === "registry" ? `docker://${name}` : `${transport}:${name}`);
  throw unsupported(deployment, "demands signatures, which Onehold does not verify");
}

function unsupported({ directory }: Deployment, why: string): OneholdError {
  return new OneholdError("unsupported", `the deployment ${directory} ${why}`, {
    subject: directory,
    hint: "Change it with the program that made it, bootc or rpm-ostree.",
  });
}
