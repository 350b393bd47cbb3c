import { rollback } from "#host/update/rollback.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { RollbackOptions } from "../options.ts";

export async function run(_options: RollbackOptions, context: VerbContext): Promise<number> {
  const result = await rollback(hostContext(context));
  context.print(result, ({ deployment, before }) => `Next boots ${deployment}, and not ${before}.`);
  return 0;
}
