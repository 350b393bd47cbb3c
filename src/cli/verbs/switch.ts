import { switchImage } from "#host/update/upgrade.ts";
import { parseReference } from "#image/reference.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { SwitchOptions } from "../options.ts";
import { renderUpdate } from "../update-text.ts";

export async function run(options: SwitchOptions, context: VerbContext): Promise<number> {
  const { reference, transport, retain, allowCopy, source, tlsVerify } = options;
  const image = parseReference(transport === undefined ? reference : `${transport}:${reference}`);
  const host = hostContext(context);
  reexecInMountNamespace(context.givenFds);
  context.print(await switchImage(host, { image, retain, allowCopy, source, tlsVerify }), renderUpdate);
  return 0;
}
