import type { Deployment } from "#boot/deployments.ts";
import { demandOstree, makeDefault } from "#boot/deploy.ts";
import { OneholdError } from "#base/errors.ts";
import { type HostContext, runOperation } from "../operation.ts";
import { restingDeployments } from "./followed.ts";

export interface RollbackResult {
  /** `<checksum>.<serial>` of what boots next, and of what did before. */
  readonly deployment: string;
  readonly before: string;
}

/** Has the host boot the version before; a second time takes it back. */
export function rollback(context: HostContext): Promise<RollbackResult> {
  const { sysroot, signal } = context;
  demandOstree();
  versionBefore(restingDeployments(sysroot));
  return runOperation(context, { verb: "rollback" }, async (operation) => {
    const deployments = restingDeployments(sysroot);
    const { before, index, earlier } = versionBefore(deployments);
    operation.stage("ordering");
    await makeDefault({ path: sysroot.path, signal }, index);
    operation.stage("ordered");
    return { deployment: nameOf(earlier), before: nameOf(before) };
  });
}

function versionBefore(deployments: readonly Deployment[]): {
  readonly before: Deployment;
  readonly index: number;
  readonly earlier: Deployment;
} {
  const [before] = deployments;
  const index = deployments.findIndex((each, at) => at > 0 && each.stateroot === before?.stateroot);
  const earlier = deployments[index];
  if (before !== undefined && earlier !== undefined) return { before, index, earlier };
  throw new OneholdError("not-found", "the host has no other version to go back to", {
    hint: "There is one after the first upgrade.",
  });
}

function nameOf({ checksum, serial }: Deployment): string {
  return `${checksum}.${serial}`;
}
