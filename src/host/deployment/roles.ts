import type { Deployment } from "#boot/deployments.ts";

export interface Roles {
  readonly staged: Deployment | undefined;
  readonly booted: Deployment | undefined;
  readonly rollback: Deployment | undefined;
  readonly others: readonly Deployment[];
}

/**
 * As bootc gives them: of the booted deployment's stateroot, the first that is neither booted nor staged is the
 * rollback. Where none is booted, no deployment has a role.
 */
export function rolesOf(deployments: readonly Deployment[]): Roles {
  const booted = deployments.find((deployment) => deployment.booted);
  const related = deployments.filter(({ stateroot }) => stateroot === booted?.stateroot);
  const staged = related.find((deployment) => deployment.staged);
  const rollback = related.find((deployment) => deployment !== booted && deployment !== staged);
  const others = [...related, ...deployments.filter((deployment) => !related.includes(deployment))].filter(
    (deployment) => ![booted, staged, rollback].includes(deployment),
  );
  return { booted, staged, rollback, others };
}
