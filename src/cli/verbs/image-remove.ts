import { remove, type RemoveResult } from "#host/remove.ts";
import { formatBytes, formatCount } from "#base/amounts.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { ImageReferenceOptions } from "../options.ts";

export async function run({ reference }: ImageReferenceOptions, context: VerbContext): Promise<number> {
  context.print(await remove(hostContext(context), reference), render);
  return 0;
}

function render({ image, digest, outcome, ostree }: RemoveResult): string {
  if (outcome === "untagged") return `Untagged: ${image} (${digest} has other names)`;
  const pruned =
    ostree === undefined || ostree.objects === 0
      ? ""
      : `; ostree gave back ${formatCount(ostree.objects, "object")}, ${formatBytes(ostree.bytes)}`;
  return `Removed: ${digest}${pruned}`;
}
