import { hostStatus } from "#host/status.ts";
import { openSysroot } from "#host/sysroot.ts";
import type { VerbContext } from "../context.ts";
import type { StatusOptions } from "../options.ts";
import { renderStatus } from "../status-text.ts";

export async function run({ booted, verbose, usage }: StatusOptions, context: VerbContext): Promise<number> {
  const host = hostStatus(openSysroot(context.sysroot), { bootedOnly: booted, bytes: usage, hostRoot: "/" });
  context.print(host, () => renderStatus(host, { verbose }));
  for (const { message } of host.status.onehold.problems) context.warn(message);
  return 0;
}
