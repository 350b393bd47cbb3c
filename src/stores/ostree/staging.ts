import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type Checksum, type ObjectType, objectPath } from "#formats/ostree-objects.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { tryFlock } from "#linux/locks.ts";
import { renameNoReplace } from "#linux/rename.ts";
import { syncfs } from "#linux/sync.ts";
import { isErrno } from "#linux/system-error.ts";
import { listXattrs } from "#linux/xattr.ts";
import { hasObject, objectFile, readMetadataObject, type Repository } from "./repository.ts";

/**
 * New objects wait here under their final names until all of them, their data included, are on disk; then
 * they are renamed into objects/. So a name in objects/ never stands for content that a power cut can take
 * away, and a refused or killed import leaves the repository as it was.
 *
 * The folder is ours alone: libostree adopts folders named `staging-<boot id>-*` that nobody locks, half-written
 * objects included, but leaves other folders in tmp/ alone until they are a day old.
 */
export interface Staging extends Disposable {
  readonly path: string;
}

const namePrefix = "onehold-";
const commitsFolder = "commits";
/** The folders of objects/: the first two digits of a checksum. */
const prefixes = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

export function makeStaging(repository: Repository): Staging {
  const directory = path.join(repository.path, "tmp", namePrefix + randomBytes(6).toString("hex"));
  fs.mkdirSync(directory, { mode: 0o700 });
  const descriptor = openDirectory(directory);
  if (!tryFlock(descriptor.fd, "exclusive")) throw new Error(`${directory} is locked by somebody else`);
  for (const name of [...prefixes, commitsFolder]) fs.mkdirSync(path.join(directory, name), { mode: 0o755 });
  return {
    path: directory,
    [Symbol.dispose]() {
      fs.rmSync(directory, { recursive: true, force: true });
      descriptor[Symbol.dispose]();
    },
  };
}

/** Removes what killed imports left; a folder that a living one holds stays. Returns how many went. */
export function clearStaging(repository: Repository): number {
  let cleared = 0;
  for (const name of fs.readdirSync(path.join(repository.path, "tmp"))) {
    if (!name.startsWith(namePrefix)) continue;
    const directory = path.join(repository.path, "tmp", name);
    using descriptor = openDirectory(directory);
    if (!tryFlock(descriptor.fd, "exclusive")) continue;
    fs.rmSync(directory, { recursive: true, force: true });
    cleared++;
  }
  return cleared;
}

/** Stages a metadata object unless the repository or the staging has it. Returns whether it is new. */
export function stageMetadataObject(
  repository: Repository,
  staging: Staging,
  checksum: Checksum,
  type: Exclude<ObjectType, "file">,
  bytes: Buffer,
): boolean {
  if (hasObject(repository, checksum, type)) return false;
  try {
    fs.writeFileSync(stagedFile(staging, checksum, type), bytes, { flag: "wx", mode: 0o644 });
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

/** Stages a commit's detached metadata: it lies beside the commit, and goes with it when that is pruned. */
export function stageDetachedMetadata(staging: Staging, commit: Checksum, bytes: Buffer): void {
  fs.writeFileSync(path.join(staging.path, `${objectPath(commit, "commit")}meta`), bytes, { flag: "wx", mode: 0o644 });
}

/** Commits wait apart, since they must come last: a commit whose tree is missing makes every prune fail. */
function stagedFile(staging: Staging, checksum: Checksum, type: ObjectType): string {
  return type === "commit"
    ? path.join(staging.path, commitsFolder, `${checksum}.commit`)
    : path.join(staging.path, objectPath(checksum, type));
}

/**
 * Moves every staged object to its place, commits last. On return names and data are on disk: the caller may
 * write refs. One sync of the file system does for all what an fsync for each of 257 directories would.
 */
export function publishStaged(repository: Repository, staging: Staging): { published: number } {
  using directory = openDirectory(staging.path);
  syncfs(directory.fd);
  const objects = path.join(repository.path, "objects");
  let published = 0;
  for (const prefix of prefixes)
    published += publishPrefix(path.join(staging.path, prefix), path.join(objects, prefix));
  const commits = path.join(staging.path, commitsFolder);
  for (const name of fs.readdirSync(commits)) {
    makeDirectory(path.join(objects, name.slice(0, 2)));
    published += publishFile(path.join(commits, name), path.join(objects, name.slice(0, 2), name.slice(2)));
  }
  if (published > 0) syncfs(directory.fd);
  return { published };
}

function publishPrefix(from: string, to: string): number {
  const names = fs.readdirSync(from);
  if (names.length === 0) return 0;
  // In a new repository whole folders move: thousands of files at the price of one.
  if (!fs.existsSync(to) && renameNoReplace(from, to) === "renamed") return names.length;
  let published = 0;
  for (const name of names) published += publishFile(`${from}/${name}`, `${to}/${name}`);
  return published;
}

/** Another writer may have been quicker: its inode stays, since deployments may be linked to it. */
function publishFile(from: string, to: string): number {
  if (renameNoReplace(from, to) === "renamed") return 1;
  fs.unlinkSync(from);
  return 0;
}

function makeDirectory(directory: string): void {
  try {
    fs.mkdirSync(directory, { mode: 0o755 });
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

/** Reads a metadata object that this import staged, or that the repository has. */
export function readStaged(
  repository: Repository,
  staging: Staging,
  checksum: Checksum,
  type: Exclude<ObjectType, "file">,
): Buffer | undefined {
  try {
    return fs.readFileSync(stagedFile(staging, checksum, type));
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    return readMetadataObject(repository, checksum, type);
  }
}

/** Where below the repository's folder a file object is, staged or in its place. */
export function findFileObject(
  repository: Repository,
  staging: Staging,
  checksum: Checksum,
): { path: string; stat: fs.Stats } | undefined {
  for (const file of [stagedFile(staging, checksum, "file"), objectFile(repository, checksum, "file")]) {
    const stat = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stat !== undefined) return { path: path.relative(repository.path, file), stat };
  }
  return undefined;
}

/** Whether new files get xattrs that nobody set: an SELinux kernel labels them. */
export function inheritsXattrs(staging: Staging): boolean {
  const file = path.join(staging.path, "probe");
  fs.writeFileSync(file, "", { flag: "wx", mode: 0o600 });
  try {
    return listXattrs({ path: file }).length > 0;
  } finally {
    fs.unlinkSync(file);
  }
}
