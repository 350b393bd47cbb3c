import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Descriptor } from "#linux/descriptor.ts";
import type { StartOptions } from "#linux/child.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { credentialsFd, programEnvironment } from "./program-environment.ts";
import { aliasRoot, aliasRunRoot, type StoreAlias } from "./store-alias.ts";

/** podman's arguments before the verb, for the image store. */
export const podmanArguments: readonly string[] = [
  "--root",
  aliasRoot,
  "--runroot",
  aliasRunRoot,
  "--cgroup-manager",
  "cgroupfs",
];

export interface SurroundingsOptions {
  readonly alias: StoreAlias;
  /** Without them: for commands that ask no registry. */
  readonly credentials?: Descriptor;
  /** Where blobs are kept until they are unpacked; in memory, where no blobs come. */
  readonly temporary?: string;
  /** A table for registries.conf (see `tlsVerifyDropIn`). */
  readonly registriesDropIn?: string | undefined;
}

/**
 * What podman and skopeo find around them when they work on the image store: one home, configuration and runtime
 * folder that nobody else has. To be handed to `run` and `start`.
 */
export function prepareSurroundings(options: SurroundingsOptions): Pick<StartOptions, "env" | "stdio3" | "extraFds"> {
  const { alias, credentials, temporary = alias.folder, registriesDropIn } = options;
  const [home, runtime, storageConf] = ["home", "runtime", "storage.conf"].map((name) => join(alias.folder, name)) as [
    string,
    string,
    string,
  ];
  const dropIns = join(home, ".config/containers/registries.conf.d");
  withSystemErrors(() => {
    mkdirSync(dropIns, { recursive: true });
    if (registriesDropIn !== undefined) writeFileSync(join(dropIns, "onehold.conf"), registriesDropIn);
    // podman's service looks for credentials in the runtime folder, whatever REGISTRY_AUTH_FILE says.
    mkdirSync(join(runtime, "containers"), { recursive: true });
    symlinkSync(`/proc/self/fd/${credentialsFd}`, join(runtime, "containers/auth.json"));
    writeFileSync(storageConf, storageConfiguration);
  });
  return {
    env: programEnvironment({
      HOME: home,
      XDG_RUNTIME_DIR: runtime,
      TMPDIR: temporary,
      CONTAINERS_STORAGE_CONF: storageConf,
    }),
    stdio3: alias.runRootFd,
    ...(credentials === undefined ? {} : { extraFds: { [credentialsFd]: credentials.fd } }),
  };
}

/**
 * The image store stands alone: no additional stores whose layers a pull would borrow, and no partial pulls,
 * which keep no blob and tell no progress.
 */
const storageConfiguration = `[storage]
driver = "overlay"
graphroot = "${aliasRoot}"
runroot = "${aliasRunRoot}"
`;
