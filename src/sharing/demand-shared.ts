import { formatBytes } from "#base/amounts.ts";
import { OneholdError } from "#base/errors.ts";

/** What the user is told of files that can't be shared. */
export interface SharingDemand {
  /** Whose files they are, where the message is to say so. */
  readonly of: string | undefined;
  readonly store: "ostree" | "composefs";
  /** Why the probe found that files can't be shared; may be empty. */
  readonly reason: string;
  /** A hint that goes before that of `--allow-copy`; ends with a space, or is empty. */
  readonly otherWay: string;
}

/** `refused`: sizes of the files, in bytes. @throws OneholdError "cannot-share" where there are any */
export function demandShared(
  refused: ReadonlyMap<unknown, number>,
  { of, store, reason, otherWay }: SharingDemand,
): void {
  if (refused.size === 0) return;
  let bytes = 0;
  for (const size of refused.values()) bytes += size;
  const files = `${refused.size} ${refused.size === 1 ? "file" : "files"} (${formatBytes(bytes)})`;
  const which = of === undefined ? files : `${files} of ${of}`;
  const why = reason === "" ? "" : `: ${reason}`;
  throw new OneholdError(
    "cannot-share",
    `${which} can't be shared with the ${store} repository${why}; the repository is as it was`,
    {
      ...(of === undefined ? {} : { subject: of }),
      hint: `${otherWay}With --allow-copy they are copied, which takes ${formatBytes(bytes)} (${bytes} bytes) more on the disk.`,
    },
  );
}
