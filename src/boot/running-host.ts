import fs from "node:fs";
import path from "node:path";
import { parseMetadata } from "#formats/ostree-metadata.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { kernelArgument, splitKernelArguments } from "./kernel-arguments.ts";
import { readSmallFile } from "./small-file.ts";

/** The host that this program runs on, where it was booted from the sysroot by ostree. */
export interface RunningHost {
  /** `/`, elsewhere in tests: has proc, run, boot and sysroot. */
  readonly root: string;
  /** What the kernel was told with `ostree=`. */
  readonly argument: string | undefined;
  /** Of the deployment's directory, whatever is mounted as the root. */
  readonly place: { readonly device: bigint; readonly inode: bigint };
}

/** undefined: the running host, if ostree booted it, was not booted from this sysroot. */
export function runningHost(sysroot: string, root: string): RunningHost | undefined {
  const mark = readSmallFile(path.join(root, "run/ostree-booted"));
  if (mark === undefined || !isSame(sysroot, path.join(root, "sysroot"))) return undefined;
  const commandLine = readSmallFile(path.join(root, "proc/cmdline"))?.toString("utf8") ?? "";
  const { dev: device, ino: inode } = withSystemErrors(() => fs.statSync(root, { bigint: true }));
  return {
    root,
    argument: kernelArgument(splitKernelArguments(commandLine), "ostree"),
    place: placeIn(mark) ?? { device, inode },
  };
}

function isSame(a: string, b: string): boolean {
  const [first, second] = [a, b].map((each) =>
    withSystemErrors(() => fs.statSync(each, { bigint: true, throwIfNoEntry: false })),
  );
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

/**
 * Where the root is an overlay (composefs), `/run/ostree-booted` says which directory it was made of: a GVariant
 * `a{sv}` with device and inode. Older releases of libostree leave the file empty.
 */
function placeIn(mark: Buffer): RunningHost["place"] | undefined {
  try {
    const found = parseMetadata(mark).find(({ key }) => key === "backing-root-device-inode");
    if (found?.type !== "other" || found.signature !== "(tt)" || found.value.length !== 16) return undefined;
    return { device: found.value.readBigUInt64LE(0), inode: found.value.readBigUInt64LE(8) };
  } catch {
    return undefined;
  }
}
