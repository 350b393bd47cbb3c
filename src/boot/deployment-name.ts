import { type Checksum, isChecksum } from "#formats/ostree-objects.ts";

/** A deployment's directory is `ostree/deploy/<stateroot>/deploy/<checksum>.<serial>`. */
export interface DeploymentName {
  readonly stateroot: string;
  /** Of the commit. */
  readonly checksum: Checksum;
  /** Tells deployments of one commit apart. */
  readonly serial: number;
}

/** Where the kernel argument `ostree=` leads. */
export interface BootLink {
  readonly bootVersion: 0 | 1;
  readonly stateroot: string;
  /** SHA-256 of kernel and initramfs. */
  readonly bootChecksum: string;
  /** Tells deployments with the same kernel apart. */
  readonly bootSerial: number;
}

/** `<checksum>.<serial>` */
export function parseDeploymentName(text: string): Omit<DeploymentName, "stateroot"> | undefined {
  const [, checksum = "", serial] = /^([0-9a-f]{64})\.(\d{1,9})$/.exec(text) ?? [];
  return isChecksum(checksum) ? { checksum, serial: Number(serial) } : undefined;
}

/** `/ostree/boot.<version>/<stateroot>/<boot checksum>/<boot serial>`: a symlink to the deployment. */
export function parseBootLink(argument: string): BootLink | undefined {
  const match = /^\/ostree\/boot\.([01])\/([^/]+)\/([0-9a-f]{64})\/(\d{1,9})$/.exec(argument);
  const [, bootVersion, stateroot = "", bootChecksum = "", bootSerial] = match ?? [];
  if (match === null || !isStateroot(stateroot)) return undefined;
  return { bootVersion: bootVersion === "0" ? 0 : 1, stateroot, bootChecksum, bootSerial: Number(bootSerial) };
}

/** Whether it can be the name of a directory in `ostree/deploy`. */
export function isStateroot(text: string): boolean {
  return text !== "" && text !== "." && text !== ".." && !/[/\0]/.test(text);
}
