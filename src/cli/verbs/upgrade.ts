import { formatBytes } from "#base/amounts.ts";
import { checkForUpdate, upgrade } from "#host/update/upgrade.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { UpgradeOptions } from "../options.ts";
import { renderUpdate } from "../update-text.ts";

export async function run(
  { check, allowCopy, source, tlsVerify }: UpgradeOptions,
  context: VerbContext,
): Promise<number> {
  const host = hostContext(context);
  if (check) {
    context.print(await checkForUpdate(host, { tlsVerify }), ({ image, update }) => {
      if (update === undefined) return `No update: the host has what ${image} is now.`;
      const version = update.version === undefined ? "" : `  version ${update.version}`;
      return `${image} is another image now: ${update.digest}${version}, ${formatBytes(update.size)} with all its layers`;
    });
    return 0;
  }
  reexecInMountNamespace(context.givenFds);
  context.print(await upgrade(host, { allowCopy, source, tlsVerify }), renderUpdate);
  return 0;
}
