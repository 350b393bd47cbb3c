import { pull, type PullResult } from "#host/pull.ts";
import { parseReference } from "#image/reference.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import { formatBytes, formatCount, formatDuration } from "#base/amounts.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { ImagePullOptions } from "../options.ts";

export async function run(options: ImagePullOptions, context: VerbContext): Promise<number> {
  const reference = parseReference(options.reference);
  const host = hostContext(context);
  reexecInMountNamespace(context.givenFds);
  const result = await pull(host, { ...options, reference, tlsVerify: options.tlsVerify });
  context.print(result, render);
  return 0;
}

function render(result: PullResult): string {
  const { bytes, milliseconds, ostree, composefs } = result;
  const there = bytes.cached > 0 ? `, ${formatBytes(bytes.cached)} of its layers were there` : "";
  const lines = [`${result.reference}  ${result.digest}${result.pinned ? "  (pinned)" : ""}`];
  lines.push(
    result.imageStore === "present"
      ? "  image store  had it already"
      : `  image store  fetched ${formatBytes(bytes.fetched)}${there}`,
  );
  if (ostree?.state === "present") lines.push("  ostree       had it already");
  if (ostree?.state === "imported") {
    const { leftOut } = ostree;
    lines.push(`  ostree       ${howItGotThere(ostree)}`, `               commit ${ostree.commit}`);
    if (leftOut.special.length > 0)
      lines.push(`  left out     ${leftOut.special.length} that ostree can't hold: ${leftOut.special.join(", ")}`);
    for (const [top, count] of Object.entries(leftOut.byRule))
      lines.push(`  left out     ${formatCount(count, "name")} in ${top}, by ostree's path rules`);
  }
  if (composefs?.state === "present") lines.push("  composefs    had it already");
  if (composefs?.state === "imported") {
    lines.push(`  composefs    ${howItGotThere(composefs)}`);
    for (const [name, id] of Object.entries(composefs.images)) lines.push(`               ${name} ${id}`);
    for (const why of composefs.refused) lines.push(`  left out     ${why}`);
  }
  const phases = (["inspect", "pull", "sync", "share"] as const).filter((phase) => milliseconds[phase] >= 1);
  lines.push(
    `  took         ${formatDuration(milliseconds.total)} (${phases.map((phase) => `${phase} ${formatDuration(milliseconds[phase])}`).join(", ")})`,
  );
  return lines.join("\n");
}

/** `960.1 MB reflinked (15345 files); 3 of 4 layers new` */
function howItGotThere({
  account,
  layers,
}: Extract<NonNullable<PullResult["ostree"] | PullResult["composefs"]>, { state: "imported" }>): string {
  const ways = (["reflinked", "hardlinked", "copied", "present"] as const)
    .filter((way) => account[way].bytes > 0)
    .map((way) => {
      const how = way === "present" ? "there before" : way;
      return `${formatBytes(account[way].bytes)} ${how} (${formatCount(account[way].files, "file")})`;
    });
  const all = formatCount(layers.imported + layers.present, "layer");
  return `${ways.length === 0 ? "nothing new" : ways.join(", ")}; ${layers.imported} of ${all} new`;
}
