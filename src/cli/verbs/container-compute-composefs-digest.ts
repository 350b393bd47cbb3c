import { computeBootDigest } from "#host/composefs-boot-digest.ts";
import type { VerbContext } from "../context.ts";
import type { ComputeDigestOptions } from "../options.ts";

export async function run(options: ComputeDigestOptions, context: VerbContext): Promise<number> {
  const { path: root, erofsVersion, digest: algorithm, propagateUsrToRoot, writeDumpfileTo: dumpFile } = options;
  const format = formats[erofsVersion];
  const digest = await computeBootDigest({ root, format, algorithm, propagateUsrToRoot, dumpFile }, context);
  context.print({ digest, algorithm, format }, () => digest);
  return 0;
}

const formats = { v0: 0, v1: 1, v2: 2 } as const satisfies Record<ComputeDigestOptions["erofsVersion"], number>;
