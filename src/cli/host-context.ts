import type { HostContext } from "#host/operation.ts";
import { openSysroot } from "#host/sysroot.ts";
import type { VerbContext } from "./context.ts";

/** What a use case that writes needs of the command line. Error: `not-found` for a sysroot that is not there. */
export function hostContext({ sysroot, report, signal, workers }: VerbContext): HostContext {
  return { sysroot: openSysroot(sysroot), report, signal, workers, hostRoot: "/" };
}
