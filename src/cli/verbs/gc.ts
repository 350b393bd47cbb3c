import { formatBytes, formatCount } from "#base/amounts.ts";
import { shortDigest } from "#base/digest.ts";
import { gc, type GcResult, planGc } from "#host/gc.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { GcOptions } from "../options.ts";
import { renderTable } from "../table.ts";

export async function run({ dryRun }: GcOptions, context: VerbContext): Promise<number> {
  const host = hostContext(context);
  const result = dryRun ? planGc(host) : await gc(host);
  context.print(result, render);
  for (const { digest, container } of result.deferred)
    context.warn(`${shortDigest(digest)} stays until the container ${container} is removed from the image store`);
  return 0;
}

function render({ dryRun, stores, freed }: GcResult): string {
  if (stores.every(({ images, parts }) => images.length + parts === 0)) return "There is nothing to remove.";
  const table = renderTable(
    [
      { title: "STORE", cell: ({ store }) => store },
      { title: dryRun ? "WOULD GO" : "GONE", cell: ({ images }) => images.map(shortDigest).join(", ") || "-" },
      {
        title: "OF WHICH",
        align: "right",
        cell: ({ store, parts }) => formatCount(parts, store === "image store" ? "layer" : "object"),
      },
      { title: "ON DISK", align: "right", cell: ({ bytes }) => formatBytes(bytes) },
    ],
    stores,
  );
  return `${table}${formatBytes(freed)} ${dryRun ? "would come" : "came"} back; what a store shares with another counts once.\n`;
}
