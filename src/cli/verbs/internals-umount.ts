import { unmountImage } from "#host/composefs-mount.ts";
import type { VerbContext } from "../context.ts";
import type { InternalsUmountOptions } from "../options.ts";

export async function run({ directory }: InternalsUmountOptions, context: VerbContext): Promise<number> {
  unmountImage(directory);
  context.print({ directory }, () => `Unmounted: ${directory}`);
  return 0;
}
