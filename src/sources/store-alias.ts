import { mkdirSync } from "node:fs";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { bindMount, mountTmpfs, unmount } from "#linux/mounts.ts";
import { inPrivateMountNamespace } from "#linux/namespace.ts";
import { withSystemErrors } from "#linux/system-error.ts";

/** Where podman sees the image store, wherever it is: podman writes this path into the store's database, as bootc's does. */
export const aliasRoot = "/run/bootc/storage";

/** podman's run root. It is in the database too, hence always by descriptor 3. */
export const aliasRunRoot = "/proc/self/fd/3";

/** How skopeo names the image store. */
export const aliasSpecifier = `[overlay@${aliasRoot}+${aliasRunRoot}]`;

/** An image store mounted at `aliasRoot`, until it is disposed of. */
export interface StoreAlias extends Disposable {
  /** To be handed to podman and skopeo as descriptor 3. */
  readonly runRootFd: number;
  /** An empty folder in memory for files of ours; nobody outside this namespace sees it. */
  readonly folder: string;
}

const privateRun = "/run/bootc";
/** The state of the host's own podman: ours must neither see nor change it (its file `alive` tells of a reboot). */
const podmanRun = "/run/libpod";

let inUse = false;

/** Needs a private mount namespace, and is there once at a time: podman's database knows one path only. */
export function mountStoreAlias(storeRoot: string): StoreAlias {
  if (!inPrivateMountNamespace())
    throw new Error("an image store can be mounted for podman only in a mount namespace of our own");
  if (inUse) throw new Error(`${aliasRoot} is in use: two pulls at a time`);
  using cleanup = new DisposableStack();
  inUse = true;
  cleanup.defer(() => {
    inUse = false;
  });
  mountPrivateTmpfs(privateRun, cleanup);
  mountPrivateTmpfs(podmanRun, cleanup);
  const [runRootPath, folder] = [`${privateRun}/runroot`, `${privateRun}/onehold`];
  withSystemErrors(() => {
    for (const path of [aliasRoot, runRootPath, folder]) mkdirSync(path, { mode: 0o700 });
  });
  bindMount(storeRoot, aliasRoot);
  const runRoot: Descriptor = cleanup.use(openDirectory(runRootPath));
  const owned = cleanup.move();
  return { runRootFd: runRoot.fd, folder, [Symbol.dispose]: () => owned.dispose() };
}

function mountPrivateTmpfs(path: string, cleanup: DisposableStack): void {
  withSystemErrors(() => mkdirSync(path, { recursive: true }));
  mountTmpfs(path);
  // podman mounts overlay/ of the store onto itself: with "detach" that goes too.
  cleanup.defer(() => unmount(path, { detach: true }));
}
