import { unpin } from "#host/pin.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { ImageReferenceOptions } from "../options.ts";

export async function run({ reference }: ImageReferenceOptions, context: VerbContext): Promise<number> {
  const result = await unpin(hostContext(context), reference);
  context.print(
    result,
    ({ image, digest, changed }) => `${image} ${changed ? "is no longer pinned" : "was not pinned"}: ${digest}`,
  );
  return 0;
}
