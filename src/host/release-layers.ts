import { unneededLayerRefs } from "#stores/ostree/images.ts";
import { deleteRef } from "#stores/ostree/refs.ts";
import { openRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { lockOstreeSysroot } from "#stores/ostree/sysroot-lock.ts";
import type { HostContext } from "./operation.ts";

/**
 * Drops the ostree refs of layers that no image needs any more, after one has lost its last ref: the next prune,
 * whoever runs it, then takes their objects. Layers of a pull of bootc's that is under way look the same, so it
 * is waited for.
 */
export async function releaseLayers({ sysroot, report, signal }: HostContext): Promise<void> {
  if (!repositoryExists(sysroot.ostreeRepo)) return;
  const repository = openRepository(sysroot.ostreeRepo);
  if (unneededLayerRefs(repository).length === 0) return;
  using _lock = await lockOstreeSysroot(repository, {
    signal,
    onWait: () =>
      report({
        kind: "notice",
        level: "info",
        text: "waiting for the lock of the ostree sysroot (bootc or ostree runs)",
      }),
  });
  for (const ref of unneededLayerRefs(repository)) deleteRef(repository, ref);
}
