import { init } from "#host/init.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { InitOptions } from "../options.ts";

export async function run(options: InitOptions, context: VerbContext): Promise<number> {
  const host = hostContext(context);
  reexecInMountNamespace(context.givenFds);
  const result = await init(host, { backend: options.backend, composefs: composefsSettings(options) });
  context.print(result, ({ sysroot, created, backend }) => {
    const made = [
      created.imageStore ? "image store" : "",
      created.ostreeRepo ? "ostree repository" : "",
      created.composefs ? "composefs repository" : "",
    ].filter(Boolean);
    const stores = made.length === 0 ? `${sysroot} has its stores already` : `Made in ${sysroot}: ${made.join(", ")}`;
    return `${stores}. Host images go into ${backend === "both" ? "ostree and composefs" : backend}.`;
  });
  return 0;
}

/** `undefined` where none was named: then those of the repository that is there, or the defaults. */
function composefsSettings({ composefsDigest, composefsFormat, insecure }: InitOptions) {
  if (composefsDigest === undefined && composefsFormat === undefined && !insecure) return undefined;
  return {
    ...(composefsDigest === undefined ? {} : { algorithm: composefsDigest }),
    ...(composefsFormat === undefined ? {} : { format: formats[composefsFormat] }),
    ...(insecure ? { verity: "no" as const } : {}),
  };
}

const formats = { "0": 0, "1": 1, "2": 2 } as const satisfies Record<
  NonNullable<InitOptions["composefsFormat"]>,
  number
>;
