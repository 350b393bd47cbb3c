import { init } from "#host/init.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { InitOptions } from "../options.ts";

export async function run(_options: InitOptions, context: VerbContext): Promise<number> {
  const host = hostContext(context);
  reexecInMountNamespace(context.givenFds);
  const result = await init(host);
  context.print(result, ({ sysroot, created }) => {
    const made = [created.imageStore ? "image store" : "", created.ostreeRepo ? "ostree repository" : ""].filter(
      Boolean,
    );
    return made.length === 0 ? `${sysroot} has its stores already.` : `Made in ${sysroot}: ${made.join(", ")}.`;
  });
  return 0;
}
