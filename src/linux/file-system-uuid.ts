import { OneholdError } from "#base/errors.ts";
import { ProgramError, run } from "./child.ts";

/**
 * The UUID of the file system on a block device, as `root=UUID=…` takes it. Read from the device itself, since udev
 * may not run. Throws "unsupported" where there is none, "program-missing" without blkid.
 */
export async function fileSystemUuid(device: string, signal: AbortSignal): Promise<string> {
  const args = ["--probe", "--match-tag", "UUID", "--output", "value", device];
  const uuid = await run("blkid", args, { signal, maxOutput: 64 * 1024 }).then(
    ({ stdout }) => stdout.toString("latin1").trim(),
    (error: unknown) => {
      // 2: nothing found, or not a device that it can read.
      if (error instanceof ProgramError && error.exitCode === 2) return "";
      throw error;
    },
  );
  if (/^[0-9A-Fa-f-]{1,64}$/.test(uuid)) return uuid;
  throw new OneholdError("unsupported", `${device} has no file system with a UUID`, { subject: device });
}
