import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { type ObjectId, objectIdOf, objectPathOf } from "#formats/composefs-objects.ts";
import { openFile } from "#linux/descriptor.ts";
import { measureVerity } from "#linux/verity.ts";
import { createdMode, type SharedSource, type SharingPolicy, shareContent, type ShareOutcome } from "#sharing/share.ts";
import { seal } from "./seal.ts";

/** Where a repository's objects are, and where new ones wait; sent to workers, so plain values only. */
export interface ObjectTarget {
  readonly objects: string;
  readonly staging: string;
  readonly algorithm: VerityAlgorithm;
  readonly secure: boolean;
}

export interface ObjectPolicy extends SharingPolicy {
  /**
   * Where the repository demands fs-verity, a hardlinked file of the image store gets it too, and can't be changed any
   * more; without that such files are copied, or refused.
   */
  readonly sealSources: boolean;
  /** No hardlinks, in a folder whose files may be changed. */
  readonly ownInodes?: true;
}

/** `present`: the repository has the object, or this import made it of an equal file. */
export type ObjectOutcome = ShareOutcome | "present";

/**
 * Makes a file of a layer an object in the staging folder, its digest known already from who has read it. The content
 * is shared, not copied, as the policy says. Runs in a worker, synchronously.
 */
export function storeObject(
  target: ObjectTarget,
  source: Omit<SharedSource, "metadata">,
  id: ObjectId,
  policy: ObjectPolicy,
): ObjectOutcome {
  if (isPresent(target, id, source.stat.size)) return "present";
  const staged = `${target.staging}/${objectPathOf(id)}`;
  // An object's owner, mode and times are nobody's business: any file will do.
  const own = policy.ownInodes === true || (target.secure && !policy.sealSources);
  const metadata = own ? "own-inode" : "any";
  const outcome = shareContent({ ...source, metadata }, staged, policy, setMode);
  if (outcome === "exists") return "present";
  if (!target.secure || outcome === "refused" || seals(target, staged, id)) return outcome;
  if (outcome !== "hardlinked") throw changed(staged, id);
  // The file has fs-verity of another kind already: what it has is for good.
  return storeObject(target, source, id, { ...policy, method: "none" });
}

const objectMode = 0o644;

function setMode(fd: number): void {
  if (createdMode("any") !== objectMode) fs.fchmodSync(fd, objectMode);
}

/**
 * Whether the repository has an object, of the size that it must have.
 * @throws "corrupt" for one that a crash, or a flipped bit, has left with its name alone
 */
export function isPresent(target: ObjectTarget, id: ObjectId, size: number): boolean {
  const file = `${target.objects}/${objectPathOf(id)}`;
  const stat = fs.lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (stat.isFile() && stat.size === size && (!target.secure || isSealed(file, target.algorithm, id))) return true;
  throw new OneholdError("corrupt", `the object ${file} is not what its name says`, {
    subject: file,
    hint: "Run `onehold internals composefs fsck`, remove what it finds damaged, and try again.",
  });
}

/** Gives a staged object fs-verity. */
export function sealStaged(target: ObjectTarget, id: ObjectId): void {
  const file = `${target.staging}/${objectPathOf(id)}`;
  if (!seals(target, file, id)) throw changed(file, id);
}

/** Enables fs-verity; whether the kernel's digest is the object's name. If it is not, the staged file is gone. */
function seals(target: ObjectTarget, file: string, id: ObjectId): boolean {
  let sealed = false;
  try {
    using reader = openFile(file, fs.constants.O_RDONLY);
    if (seal(reader.fd, target.algorithm) === "unsupported") {
      throw new OneholdError("unsupported", `${file} can't get fs-verity, which its repository demands`, {
        subject: file,
        hint: "The kernel needs CONFIG_FS_VERITY, ext4 the feature `verity`.",
      });
    }
    sealed = measures(reader.fd, target.algorithm, id);
    return sealed;
  } finally {
    // Nobody shall take it for an object.
    if (!sealed) fs.unlinkSync(file);
  }
}

function isSealed(file: string, algorithm: VerityAlgorithm, id: ObjectId): boolean {
  using reader = openFile(file, fs.constants.O_RDONLY);
  return measures(reader.fd, algorithm, id);
}

function measures(fd: number, algorithm: VerityAlgorithm, id: ObjectId): boolean {
  const measured = measureVerity(fd);
  return typeof measured === "object" && measured.algorithm === algorithm && objectIdOf(measured.digest) === id;
}

function changed(file: string, id: ObjectId): OneholdError {
  return new OneholdError("corrupt", `${file} was ${id} when it was read, and is not any more`, { subject: file });
}
