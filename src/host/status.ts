import { Attempts } from "#boot/attempts.ts";
import { type Deployment, readDeployments } from "#boot/deployments.ts";
import { mountOf } from "#linux/mounts.ts";
import { rolesOf } from "./deployment/roles.ts";
import type { BootEntryDocument, HostDocument, StorageState, UsrOverlay } from "./status-document.ts";
import { describeDeployments } from "./status-entries.ts";
import { readStorageMode, type StorageMode } from "./storage-mode.ts";
import type { Sysroot } from "./sysroot.ts";

export interface StatusOptions {
  /** Nothing but the deployment that the running host was booted from. */
  readonly bootedOnly: boolean;
  /** Look where the content of each image lies on the disk, too: takes as long as `usage`. */
  readonly bytes: boolean;
  /** Where the running host is: `/`, elsewhere in tests. */
  readonly hostRoot: string;
}

/**
 * What a host runs, ran and will run. Takes no lock, waits for nobody and writes nothing. What can't be read is
 * among the problems that it tells of, and the rest is there.
 */
export function hostStatus(sysroot: Sysroot, { bootedOnly, bytes, hostRoot }: StatusOptions): HostDocument {
  const attempts = new Attempts();
  const { deployments, problems } = readDeployments(sysroot.path, hostRoot);
  const mode = attempts.try(() => readStorageMode(sysroot)) ?? "unified";
  const entries = describeDeployments(sysroot, deployments, { mode, bytes }, attempts);
  const entryOf = (deployment: Deployment | undefined) => (deployment && entries.get(deployment)) ?? null;
  const roles = rolesOf(deployments);
  const booted = entryOf(roles.booted);
  const next = entryOf(roles.staged ?? roles.booted ?? deployments[0]);
  const rollback = entryOf(roles.rollback);
  const rollbackQueued = booted !== null && rollback !== null && rollback.onehold.index < booted.onehold.index;
  const others = roles.others.flatMap((deployment) => entryOf(deployment) ?? []);
  return {
    apiVersion: "org.containers.bootc/v1",
    kind: "BootcHost",
    metadata: { name: "host" },
    spec: { image: next?.image?.image ?? null, bootOrder: rollbackQueued ? "rollback" : "default" },
    status: {
      staged: bootedOnly ? null : entryOf(roles.staged),
      booted,
      rollback: bootedOnly ? null : rollback,
      ...(bootedOnly || others.length === 0 ? {} : { otherDeployments: others }),
      rollbackQueued,
      type: (booted?.image ?? null) === null ? null : "bootcHost",
      usrOverlay: usrOverlay(roles.booted),
      readOnly: attempts.try(() => mountOf(sysroot.path)?.superOptions.includes("ro")) ?? false,
      onehold: {
        storage: storageOfHost(mode, [...entries.values()]),
        problems: [...problems, ...attempts.failures].map(({ message, subject = null }) => ({ message, subject })),
      },
    },
  };
}

/** What lies over /usr of the running host. */
function usrOverlay(booted: Deployment | undefined): UsrOverlay | null {
  switch (booted?.unlocked) {
    case "development":
      return { accessMode: "readWrite", persistence: "transient" };
    case "hotfix":
      return { accessMode: "readWrite", persistence: "persistent" };
    case "transient":
      return { accessMode: "readOnly", persistence: "transient" };
    case "none":
    case undefined:
      return null;
  }
}

/** In effect where it is for every deployment that has an image. */
function storageOfHost(mode: StorageMode, entries: readonly BootEntryDocument[]): StorageState {
  const failing = entries.find(({ onehold }) => onehold.storage?.inEffect === false);
  if (failing === undefined) return { mode, inEffect: true, reason: null };
  const { image, onehold } = failing;
  return { mode, inEffect: false, reason: `${image?.image.image ?? ""}: ${onehold.storage?.reason ?? ""}` };
}
