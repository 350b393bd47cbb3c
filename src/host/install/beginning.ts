import fs from "node:fs";
import path from "node:path";
import { cleanUpDeployments } from "#boot/deploy.ts";
import { removeDurably, writeFileDurably } from "#linux/durable.ts";
import { repositoryExists } from "#stores/ostree/repository.ts";
import type { HostContext } from "../operation.ts";
import type { Sysroot } from "../sysroot.ts";

/**
 * Says that an install to the sysroot has begun and not ended, longer than the journal does: that goes with the first
 * operation after a killed one, whichever it is.
 */
export function isBegun(sysroot: Sysroot): boolean {
  return fs.existsSync(markOf(sysroot));
}

export function markBegun(sysroot: Sysroot, reference: string): void {
  const mark = { version: 1, reference, begun: new Date().toISOString() };
  writeFileDurably(markOf(sysroot), `${JSON.stringify(mark, undefined, 2)}\n`);
}

export function markEnded(sysroot: Sysroot): void {
  removeDurably(markOf(sysroot));
}

/**
 * Clears what an install that did not end has deployed. The images stay: they are whole, or recovery has dropped them.
 * Nobody has used the host yet, so its /var goes too, which libostree may have filled by half.
 */
export async function clearDeployments({ sysroot, signal }: Pick<HostContext, "sysroot" | "signal">): Promise<void> {
  const boot = path.join(sysroot.path, "boot");
  // Without a boot entry libostree takes no deployment for one that is needed.
  for (const name of ["loader", "loader.0", "loader.1"])
    fs.rmSync(path.join(boot, name), { recursive: true, force: true });
  if (fs.existsSync(path.join(sysroot.path, "ostree/deploy")) && repositoryExists(sysroot.ostreeRepo)) {
    await cleanUpDeployments({ path: sysroot.path, signal });
  }
  for (const name of ["boot/ostree", "ostree/deploy", "onehold/deployments"])
    fs.rmSync(path.join(sysroot.path, name), { recursive: true, force: true });
}

function markOf({ state }: Sysroot): string {
  return path.join(state.path, "install.json");
}
