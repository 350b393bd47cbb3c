import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { byteStringOfText } from "#base/bytes.ts";
import { type Keyfile, parseKeyfile } from "#formats/keyfile.ts";
import { type Checksum, checksumOf, type ObjectType, objectPath } from "#formats/ostree-objects.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { lock } from "#linux/locks.ts";
import { isErrno } from "#linux/system-error.ts";
import { getXattr, listXattrs } from "#linux/xattr.ts";

/** An ostree repository of mode `bare`: objects are files with the owner, mode and xattrs that the host shall have. */
export interface Repository {
  readonly path: string;
  readonly config: Keyfile;
}

/** What libostree waits for a repository's lock by default, in seconds (core.lock-timeout-secs). */
const defaultLockTimeout = 300;

/** Whether there is a repository at `directory`, by libostree's own test. */
export function repositoryExists(directory: string): boolean {
  return fs.existsSync(path.join(directory, "objects"));
}

/**
 * Makes an empty repository, as `ostree init --mode=bare` does. One that is there stays as it is. `settings`: further
 * groups of its config.
 */
export function createRepository(directory: string, settings = ""): void {
  for (const name of ["tmp", "extensions", "state", "refs/heads", "refs/mirrors", "refs/remotes"]) {
    fs.mkdirSync(path.join(directory, name), { recursive: true, mode: 0o755 });
  }
  const config = path.join(directory, "config");
  if (!fs.existsSync(config))
    writeFileDurably(config, `[core]\nrepo_version=1\nmode=bare\n${settings === "" ? "" : "\n"}${settings}`);
  fs.mkdirSync(path.join(directory, "objects"), { recursive: true, mode: 0o755 });
}

/**
 * Opens a repository for reading. Errors: `not-found`, `unsupported` (a mode or version that Onehold does
 * not write).
 */
export function openRepository(directory: string): Repository {
  if (!repositoryExists(directory)) {
    throw new OneholdError("not-found", `no ostree repository at ${directory}`, {
      hint: "Make one with `onehold init`.",
      subject: directory,
    });
  }
  const config = parseKeyfile(fs.readFileSync(path.join(directory, "config"), "utf8"));
  const version = config.get("core", "repo_version");
  const mode = config.get("core", "mode") ?? "bare";
  if (version !== "1" || mode !== "bare") {
    throw new OneholdError(
      "unsupported",
      `the ostree repository ${directory} has mode ${mode} and version ${version ?? "(none)"}; only bare repositories of version 1 can share files`,
      { subject: directory },
    );
  }
  return { path: directory, config };
}

/**
 * Refuses repositories in which a new file would not have exactly the metadata that it is given, or that
 * need what Onehold does not write: every object in them would fail `ostree fsck`.
 */
export function refuseUnsafeRepository(repository: Repository): void {
  const parent = repository.config.get("core", "parent");
  if (parent !== undefined)
    throw unsafe(repository.path, `has a parent repository (${parent})`, "Remove core.parent from its config.");
  if (repository.config.get("ex-integrity", "fsverity") === "yes") {
    throw unsafe(repository.path, "demands fs-verity on every object (ex-integrity.fsverity=yes)", "Set it to maybe.");
  }
  for (const name of ["objects", "tmp"]) {
    const directory = path.join(repository.path, name);
    const names = listXattrs({ path: directory });
    if (names.includes(byteStringOfText("system.posix_acl_default"))) {
      throw unsafe(
        directory,
        "has a default ACL, which every new object would inherit",
        `Remove it: setfacl -k ${directory}`,
      );
    }
    const compression = getBtrfsCompression(directory);
    if (compression !== undefined) {
      throw unsafe(
        directory,
        `has the btrfs property compression=${compression}, which every new object would inherit as an xattr`,
        `Remove it: btrfs property set ${directory} compression ""`,
      );
    }
  }
}

function getBtrfsCompression(directory: string): string | undefined {
  return getXattr({ path: directory }, byteStringOfText("btrfs.compression"))?.toString("utf8");
}

function unsafe(subject: string, why: string, hint: string): OneholdError {
  return new OneholdError("unsafe-repository", `${subject} ${why}`, { subject, hint });
}

/**
 * Takes the repository's lock, shared: as long as it is held nobody prunes, so that an object found to exist
 * stays until a ref protects it. Never run `ostree` commands that write while holding it.
 */
export async function lockRepository(
  repository: Repository,
  options: { onWait?: () => void; signal?: AbortSignal } = {},
): Promise<Descriptor> {
  const file = path.join(repository.path, ".lock");
  const descriptor = openFile(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o660);
  try {
    if (repository.config.get("core", "locking") !== "false") {
      const seconds = Number(repository.config.get("core", "lock-timeout-secs") ?? defaultLockTimeout);
      await lock(descriptor.fd, "shared", {
        what: `the ostree repository ${repository.path}`,
        ...(seconds >= 0 ? { timeoutMs: seconds * 1000 } : {}),
        ...options,
      });
    }
    return descriptor;
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

export function objectFile(repository: Repository, checksum: Checksum, type: ObjectType): string {
  return path.join(repository.path, "objects", objectPath(checksum, type));
}

export function hasObject(repository: Repository, checksum: Checksum, type: ObjectType): boolean {
  return fs.lstatSync(objectFile(repository, checksum, type), { throwIfNoEntry: false }) !== undefined;
}

/** Whether there is anything that a prune could take. */
export function holdsObjects(repository: Repository): boolean {
  return fs.readdirSync(path.join(repository.path, "objects")).length > 0;
}

/** Reads a commit, dirtree or dirmeta object and checks its checksum. `undefined` where it is not there. */
export function readMetadataObject(
  repository: Repository,
  checksum: Checksum,
  type: Exclude<ObjectType, "file">,
): Buffer | undefined {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(objectFile(repository, checksum, type));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
  if (checksumOf(bytes) !== checksum) {
    throw new OneholdError(
      "corrupt",
      `ostree object ${checksum}.${type} in ${repository.path} does not have its checksum`,
      {
        subject: repository.path,
        hint: "Run `ostree fsck` on the repository.",
      },
    );
  }
  return bytes;
}

/** Whether a commit is there and not marked as partial (a pull or fsck left it so). Its content is trusted. */
export function isWholeCommit(repository: Repository, commit: Checksum): boolean {
  const mark = path.join(repository.path, "state", `${commit}.commitpartial`);
  return hasObject(repository, commit, "commit") && !fs.existsSync(mark);
}
