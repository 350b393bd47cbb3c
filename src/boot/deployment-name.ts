import { type Checksum, isChecksum } from "#formats/ostree-objects.ts";

/** A deployment's directory is `ostree/deploy/<stateroot>/deploy/<checksum>.<serial>`. */
export interface DeploymentName {
  readonly stateroot: string;
  /** Of the commit. */
  readonly checksum: Checksum;
  /** Tells deployments of one commit apart. */
  readonly serial: number;
}

/** `<checksum>.<serial>` */
export function parseDeploymentName(text: string): Omit<DeploymentName, "stateroot"> | undefined {
  const [, checksum = "", serial] = /^([0-9a-f]{64})\.(\d{1,9})$/.exec(text) ?? [];
  return isChecksum(checksum) ? { checksum, serial: Number(serial) } : undefined;
}

/**
 * The stateroot of a symlink to a deployment, which is what the kernel argument `ostree=` names:
 * `/ostree/boot.<boot version>/<stateroot>/<checksum of the kernel>/<serial>`.
 */
export function staterootOfLink(argument: string): string | undefined {
  const [, stateroot = ""] = /^\/ostree\/boot\.[01]\/([^/]+)\/[0-9a-f]{64}\/\d{1,9}$/.exec(argument) ?? [];
  return isStateroot(stateroot) ? stateroot : undefined;
}

/** Whether it can be the name of a directory in `ostree/deploy`. */
export function isStateroot(text: string): boolean {
  return text !== "" && text !== "." && text !== ".." && !/[/\0]/.test(text);
}
