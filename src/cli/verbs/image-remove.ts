import { remove, type RemoveResult } from "#host/remove.ts";
import { formatBytes, formatCount } from "#base/amounts.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { ImageReferenceOptions } from "../options.ts";

export async function run({ reference }: ImageReferenceOptions, context: VerbContext): Promise<number> {
  context.print(await remove(hostContext(context), reference), render);
  return 0;
}

function render({ image, digest, outcome, ostree, composefs }: RemoveResult): string {
  if (outcome === "untagged") return `Untagged: ${image} (${digest} has other names)`;
  return `Removed: ${digest}${gaveBack("ostree", ostree)}${gaveBack("composefs", composefs)}`;
}

function gaveBack(store: string, swept: RemoveResult["ostree"]): string {
  if (swept === undefined || swept.objects === 0) return "";
  return `; ${store} gave back ${formatCount(swept.objects, "object")}, ${formatBytes(swept.bytes)}`;
}
