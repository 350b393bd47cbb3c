import {
  createRepository as createComposefs,
  defaultSettings,
  type RepositorySettings,
  repositoryExists as composefsExists,
} from "#stores/composefs/repository.ts";
import { createRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { ensureImageStore } from "#sources/create-store.ts";
import { type HostContext, runOperation } from "./operation.ts";
import { type Backend, imageStoreExists } from "./sysroot.ts";

export interface InitSettings {
  /** `undefined`: as the sysroot has it; ostree in an empty one. A store that is there stays, so that one can be added. */
  readonly backend: Backend | undefined;
  /** Of a composefs repository that is made; it keeps them for its life. */
  readonly composefs: Partial<RepositorySettings> | undefined;
}

export interface InitResult {
  readonly sysroot: string;
  readonly backend: Backend;
  /** Whether this call made them. */
  readonly created: { readonly imageStore: boolean; readonly ostreeRepo: boolean; readonly composefs: boolean };
}

/** Makes a sysroot's stores where there are none. What is there stays as it is. */
export function init(context: HostContext, settings: InitSettings): Promise<InitResult> {
  return runOperation(context, { verb: "init" }, () => makeStores(context, settings));
}

/** The same, within an operation. */
export async function makeStores(
  { sysroot, signal }: Pick<HostContext, "sysroot" | "signal">,
  { backend = sysroot.backend, composefs: settings }: InitSettings,
): Promise<InitResult> {
  const ostreeRepo = backend !== "composefs" && !repositoryExists(sysroot.ostreeRepo);
  if (ostreeRepo) createRepository(sysroot.ostreeRepo);
  const composefs = backend !== "ostree" && !composefsExists(sysroot.composefs);
  // One that is there is only asked whether it has the settings that were named.
  if (composefs || (backend !== "ostree" && settings !== undefined))
    createComposefs(sysroot.composefs, { ...defaultSettings, ...settings });
  const imageStore = !imageStoreExists(sysroot);
  if (imageStore) await ensureImageStore(sysroot.imageStore, signal);
  return { sysroot: sysroot.path, backend: sysroot.backend, created: { imageStore, ostreeRepo, composefs } };
}
