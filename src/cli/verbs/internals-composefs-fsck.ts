import path from "node:path";
import { formatBytes, formatCount } from "#base/amounts.ts";
import { checkComposefs, type FsckResult } from "#host/composefs-fsck.ts";
import type { VerbContext } from "../context.ts";
import { exitStatus } from "../errors.ts";
import type { ComposefsFsckOptions } from "../options.ts";

export async function run({ repo }: ComposefsFsckOptions, context: VerbContext): Promise<number> {
  const directory = path.resolve(repo ?? path.join(context.sysroot, "composefs"));
  const result = await checkComposefs(directory, context);
  context.print(result, render);
  return result.problems.length === 0 ? exitStatus.done : exitStatus.failed;
}

function render({ repository, objects, bytes, streams, images, problems, labels }: FsckResult): string {
  const lines = problems.map(({ subject, why }) => `${subject}: ${why}`);
  for (const { image, tags, files, examples } of labels) {
    const name = tags.length === 0 ? image : tags.join(", ");
    lines.push(
      `notice: ${name}: ${formatCount(files, "file")} would be labelled otherwise by libselinux than by composefs-rs`,
      ...examples.map(
        (each) => `  ${each.path}: ${each.libselinux ?? "no label"}, not ${each.composefs ?? "no label"}`,
      ),
      ...(files > examples.length ? [`  and ${files - examples.length} more`] : []),
    );
  }
  const checked = [
    `${formatCount(objects, "object")} (${formatBytes(bytes)})`,
    formatCount(streams, "stream"),
    formatCount(images, "image"),
  ].join(", ");
  const verdict = problems.length === 0 ? "nothing is wrong" : `${formatCount(problems.length, "problem")} found`;
  return [...lines, `${repository}: ${checked}: ${verdict}`].join("\n");
}
