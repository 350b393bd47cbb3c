import { formatBytes, formatDuration } from "#base/amounts.ts";
import type { UpdateResult } from "#host/update/upgrade.ts";

/** What `upgrade` and `switch` have done. */
export function renderUpdate({ image, digest, deployed }: UpdateResult): string {
  if (deployed === undefined) return `Nothing to do: the host has what ${image} is now.`;
  const { pulled, boundImages, deployment, kernelArguments, milliseconds } = deployed;
  const { fetched, cached } = pulled.bytes;
  return [
    `${image}  ${digest}  boots next`,
    `  fetched      ${formatBytes(fetched)}, ${formatBytes(cached)} of its layers were there`,
    ...boundImages.map((bound) => `  bound image  ${bound.image}  ${bound.digest}`),
    `  deployment   ${deployment}`,
    `  arguments    ${kernelArguments.join(" ")}`,
    `  took         ${formatDuration(milliseconds.total)}`,
  ].join("\n");
}
