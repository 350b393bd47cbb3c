import { formatBytes } from "#base/amounts.ts";
import { OneholdError } from "#base/errors.ts";
import { fileSystemOf } from "#linux/file-system.ts";
import type { Repository } from "./repository.ts";

/** What libostree keeps free where the config says nothing (core.min-free-space-percent). */
const defaultPercent = 3;
const units: Readonly<Record<string, number>> = { MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };

/** Bytes that must stay free in the repository's file system, by its own config: libostree writes no file beyond. */
export function minimumFree(repository: Repository, totalBytes: number): number {
  const size = /^(\d+)(MB|GB|TB)$/.exec(repository.config.get("core", "min-free-space-size") ?? "");
  if (size !== null) return Number(size[1]) * (units[size[2] ?? ""] ?? 0);
  const percent = Number(repository.config.get("core", "min-free-space-percent") ?? defaultPercent);
  return Number.isFinite(percent) ? (totalBytes * Math.min(Math.max(percent, 0), 100)) / 100 : 0;
}

/** Refuses (`no-space`) to begin where less than that is left. */
export function demandMinimumFree(repository: Repository): void {
  const { totalBytes, availableBytes } = fileSystemOf(repository.path);
  const minimum = minimumFree(repository, totalBytes);
  if (availableBytes >= minimum) return;
  throw new OneholdError(
    "no-space",
    `${repository.path} has ${formatBytes(availableBytes)} left, and its config keeps ${formatBytes(minimum)} free`,
    {
      subject: repository.path,
      hint: "Remove images that you no longer need, or lower core.min-free-space-percent in the repository's config.",
    },
  );
}
