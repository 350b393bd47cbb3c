import { formatBytes, formatCount } from "#base/amounts.ts";
import { type MadeImage, makeImage } from "#host/composefs-mkfs.ts";
import type { VerbContext } from "../context.ts";
import type { ComposefsMkfsOptions } from "../options.ts";

export async function run(options: ComposefsMkfsOptions, context: VerbContext): Promise<number> {
  const { source, image, fromFile, compat, erofsVersion, digest: algorithm, digestStore, printDigest } = options;
  const format = erofsVersion === undefined ? undefined : formats[erofsVersion];
  const made = await makeImage({ source, image, fromFile, compat, format, algorithm, digestStore }, context);
  // Asked for, so --quiet does not keep it back.
  if (printDigest) context.write(`${made.digest}\n`);
  else context.print(made, render);
  return 0;
}

const formats = { "0": 0, "1": 1, "2": 2 } as const satisfies Record<
  NonNullable<ComposefsMkfsOptions["erofsVersion"]>,
  number
>;

function render({ image, format, algorithm, digest, size, newObjects }: MadeImage): string {
  const objects = newObjects === null ? "" : `; ${formatCount(newObjects, "new object")}`;
  return `Made ${image}: V${format}, ${formatBytes(size)}, ${algorithm}:${digest}${objects}`;
}
