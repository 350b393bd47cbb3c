import { pin } from "#host/pin.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { ImageReferenceOptions } from "../options.ts";

export async function run({ reference }: ImageReferenceOptions, context: VerbContext): Promise<number> {
  const result = await pin(hostContext(context), reference);
  context.print(
    result,
    ({ image, digest, changed }) => `${image} ${changed ? "is pinned" : "was pinned already"}: ${digest}`,
  );
  return 0;
}
