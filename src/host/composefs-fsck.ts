import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { checkRepository, type RepositoryCheck } from "#stores/composefs/check.ts";
import { listObjects } from "#stores/composefs/objects.ts";
import { openReadable } from "./composefs-image.ts";
import { compareLabels, type ComparedLabels } from "./composefs-fsck-labels.ts";

export interface FsckResult extends RepositoryCheck {
  readonly repository: string;
  /** Host images that have files which libselinux would label otherwise. */
  readonly labels: readonly ComparedLabels[];
}

/** Checks all of a composefs repository. Errors: "not-found", "corrupt" for its meta.json, "unsupported". */
export async function checkComposefs(
  directory: string,
  context: { readonly report: ReportProgress; readonly signal: AbortSignal },
): Promise<FsckResult> {
  const { report, signal } = context;
  const repository = openReadable(directory);
  let total = 0;
  for (const { file } of listObjects(repository)) total += fs.lstatSync(file, { throwIfNoEntry: false })?.size ?? 0;
  let read = 0;
  const check = await checkRepository(repository, {
    signal,
    onWait: () => report({ kind: "notice", level: "info", text: "waiting for the lock of the composefs repository" }),
    onBytes(bytes) {
      read += bytes;
      report({
        kind: "bytes",
        task: "checking",
        id: directory,
        description: "Checking objects",
        bytes: read,
        bytesCached: 0,
        // Objects may have come meanwhile.
        bytesTotal: Math.max(read, total),
        steps: 0,
        stepsCached: 0,
        stepsTotal: 0,
        parts: [],
        estimated: false,
      });
    },
  });
  const labels = await compareLabels(repository, (image, error) => {
    if (!(error instanceof OneholdError)) throw error;
    report({ kind: "notice", level: "warning", text: `the labels of ${image} can't be compared: ${error.message}` });
  });
  return { repository: directory, ...check, labels };
}
