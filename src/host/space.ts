import { formatBytes, formatCount } from "#base/amounts.ts";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import { isErrno } from "#linux/system-error.ts";

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

/** The same for inodes: a pull, a record and a ref take a few files each. */
const reservedInodes = 100;

const makeRoom = "Remove images that you no longer need (`onehold usage` shows their sizes)";

/** Refuses what surely can't fit (`no-space`), before the first byte is fetched. */
export function demandSpace(need: SpaceNeed): void {
  const { availableBytes, freeInodes } = fileSystemOf(need.directory);
  if (need.bytes + reservedBytes > availableBytes) {
    throw new OneholdError(
      "no-space",
      `${need.what} needs at least ${formatBytes(need.bytes)}, and ${formatBytes(reservedBytes)} in reserve, but ${need.directory} has ${formatBytes(availableBytes)} left`,
      { subject: need.directory, hint: `${makeRoom}.` },
    );
  }
  if (need.inodes + reservedInodes > freeInodes) {
    throw new OneholdError(
      "no-space",
      `${need.what} needs at least ${need.inodes} inodes, and ${reservedInodes} in reserve, but ${need.directory} has ${freeInodes} left`,
      { subject: need.directory, hint: `${makeRoom}.` },
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
    const { availableBytes, freeInodes } = fileSystemOf(directory);
    if (availableBytes >= reservedBytes && freeInodes >= reservedInodes) return;
    clearInterval(timer);
    const [left, reserve] =
      availableBytes < reservedBytes
        ? [formatBytes(availableBytes), formatBytes(reservedBytes)]
        : [formatCount(freeInodes, "inode"), String(reservedInodes)];
    controller.abort(
      new OneholdError(
        "no-space",
        `stopped before the disk was full: ${directory} has ${left} left, and ${reserve} are kept in reserve`,
        { subject: directory, hint: `${makeRoom}, and try again.` },
      ),
    );
  }, 100);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The error for a disk that became full under our own hands; any other error as it is. */
export function explainFullDisk(error: unknown, directory: string): unknown {
  if (!isErrno(error, "ENOSPC", "EDQUOT")) return error;
  const { availableBytes, freeInodes } = fileSystemOf(directory);
  const inodes = freeInodes === Number.POSITIVE_INFINITY ? "" : ` and ${formatCount(freeInodes, "inode")}`;
  return new OneholdError(
    "no-space",
    `the disk is full: ${directory} has ${formatBytes(availableBytes)}${inodes} left (${messageOf(error)})`,
    { subject: directory, cause: error, hint: `${makeRoom}, and try again.` },
  );
}
