import { createRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { ensureImageStore } from "#sources/create-store.ts";
import { type HostContext, runOperation } from "./operation.ts";
import { imageStoreExists } from "./sysroot.ts";

export interface InitResult {
  readonly sysroot: string;
  readonly backend: "ostree";
  /** Whether this call made them. */
  readonly created: { readonly imageStore: boolean; readonly ostreeRepo: boolean };
}

/** Makes a sysroot's stores where there are none. What is there stays as it is. */
export function init(context: HostContext): Promise<InitResult> {
  return runOperation(context, { verb: "init" }, () => makeStores(context));
}

/** The same, within an operation. */
export async function makeStores({ sysroot, signal }: Pick<HostContext, "sysroot" | "signal">): Promise<InitResult> {
  const ostreeRepo = !repositoryExists(sysroot.ostreeRepo);
  if (ostreeRepo) createRepository(sysroot.ostreeRepo);
  const imageStore = !imageStoreExists(sysroot);
  if (imageStore) await ensureImageStore(sysroot.imageStore, signal);
  return { sysroot: sysroot.path, backend: "ostree", created: { imageStore, ostreeRepo } };
}
