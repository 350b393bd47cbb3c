import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { linkAt } from "#linux/hardlink.ts";
import { AT_FDCWD, openDirectory } from "#linux/descriptor.ts";
import { cloneFile } from "#linux/reflink.ts";
import { isErrno } from "#linux/system-error.ts";
import type { SharingMethod } from "./share.ts";

export interface ProbeResult {
  readonly method: SharingMethod;
  /** Why a better method is not at hand; a clause. Empty with `reflink`. */
  readonly reason: string;
}

/**
 * Finds out, by trying it, how files can get from one folder to another without copying their bytes. Both
 * folders must exist; nothing is left in them.
 */
export function probeSharing(from: string, to: string): ProbeResult {
  const name = `.onehold-probe-${randomBytes(6).toString("hex")}`;
  const source = path.join(from, name);
  const target = path.join(to, `${name}-shared`);
  try {
    fs.writeFileSync(source, Buffer.alloc(4096, "probe"), { flag: "wx", mode: 0o600 });
    return tryReflink(source, target) ?? tryHardlink(source, target);
  } finally {
    fs.rmSync(source, { force: true });
    fs.rmSync(target, { force: true });
  }
}

function tryReflink(source: string, target: string): ProbeResult | undefined {
  const from = fs.openSync(source, "r");
  const to = fs.openSync(target, "wx", 0o600);
  try {
    cloneFile(to, from);
    return { method: "reflink", reason: "" };
  } catch (error) {
    if (!isErrno(error, "EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY", "EPERM")) throw error;
    return undefined;
  } finally {
    fs.closeSync(from);
    fs.closeSync(to);
    fs.rmSync(target, { force: true });
  }
}

function tryHardlink(source: string, target: string): ProbeResult {
  using directory = openDirectory(path.dirname(source));
  try {
    linkAt(directory.fd, path.basename(source), AT_FDCWD, target);
    return { method: "hardlink", reason: "the file system has no reflinks" };
  } catch (error) {
    if (isErrno(error, "EXDEV")) return { method: "none", reason: "the two stores are on different file systems" };
    if (isErrno(error, "EPERM", "EOPNOTSUPP"))
      return { method: "none", reason: "the file system has neither reflinks nor hardlinks" };
    throw error;
  }
}
