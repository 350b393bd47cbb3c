import { closeSync, fstatSync, openSync, readFileSync, statSync } from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { isErrno, toSystemError, withSystemErrors } from "#linux/system-error.ts";

const mebi = 1024 * 1024;
/** More than 50,000 layers' records. */
export const maxRecordFile = 64 * mebi;
/** What podman itself takes for a manifest or a config, at most. */
export const maxImageData = 4 * mebi;

/** The whole file; undefined where there is none. @throws corrupt where it is larger than `limit` bytes */
export function readBounded(path: string, limit: number): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw toSystemError(error);
  }
  try {
    const { size } = fstatSync(fd);
    if (size <= limit) return withSystemErrors(() => readFileSync(fd));
    throw new OneholdError("corrupt", `${path} has ${size} bytes: more than the ${limit} that can be right`, {
      subject: path,
    });
  } finally {
    closeSync(fd);
  }
}

/** Differs where the file was replaced or written: podman replaces its record files by rename. */
export function fileStamp(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(":");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return "absent";
    throw toSystemError(error);
  }
}
