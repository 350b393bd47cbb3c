import { formatBytes } from "#base/amounts.ts";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { fileSystemOf } from "#linux/file-system.ts";

/** What an operation needs of the file system that holds `directory`; lower bounds, in bytes and inodes. */
export interface SpaceNeed {
  readonly directory: string;
  readonly what: string;
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * What must stay free: enough for the file system's own metadata and for the records that end an operation
 * cleanly, whatever happens.
 */
export const reservedBytes = 32 * 1024 * 1024;

/** Refuses what surely can't fit (`no-space`), before the first byte is fetched. */
export function demandSpace(need: SpaceNeed): void {
  const { availableBytes, freeInodes } = fileSystemOf(need.directory);
  if (need.bytes + reservedBytes > availableBytes) {
    throw new OneholdError(
      "no-space",
      `${need.what} needs at least ${formatBytes(need.bytes)}, and ${formatBytes(reservedBytes)} in reserve, but ${need.directory} has ${formatBytes(availableBytes)} left`,
      { subject: need.directory, hint: "Remove images that you no longer need (`onehold usage` shows their sizes)." },
    );
  }
  if (need.inodes > freeInodes) {
    throw new OneholdError(
      "no-space",
      `${need.what} needs at least ${need.inodes} inodes, but ${need.directory} has ${freeInodes} left`,
      { subject: need.directory, hint: "Remove images that you no longer need (`onehold usage` shows their sizes)." },
    );
  }
}

/** How much larger layers are unpacked, on the average of Debian and Fedora images; only ever used for a warning. */
const usualGrowth = 2.5;

/** Warns where the image probably won't fit; it may, so this does not refuse. */
export function warnOfTightSpace(directory: string, compressedBytes: number, report: ReportProgress): void {
  const { availableBytes } = fileSystemOf(directory);
  const estimate = Math.round(compressedBytes * (1 + usualGrowth));
  if (estimate + reservedBytes <= availableBytes) return;
  report({
    kind: "notice",
    level: "warning",
    text: `the image may need about ${formatBytes(estimate)} while it is pulled; ${formatBytes(availableBytes)} are left. The pull stops before the disk is full.`,
  });
}

/** Looks at the free space until disposed of; aborts `controller` with a `no-space` error when little is left. */
export function watchSpace(directory: string, controller: AbortController): Disposable {
  const timer = setInterval(() => {
    const { availableBytes } = fileSystemOf(directory);
    if (availableBytes >= reservedBytes) return;
    clearInterval(timer);
    controller.abort(
      new OneholdError(
        "no-space",
        `stopped before the disk was full: ${directory} has ${formatBytes(availableBytes)} left, and ${formatBytes(reservedBytes)} are kept in reserve`,
        {
          subject: directory,
          hint: "Remove images that you no longer need (`onehold usage` shows their sizes), and try again.",
        },
      ),
    );
  }, 100);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
