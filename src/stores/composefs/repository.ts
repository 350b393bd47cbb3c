import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { type ImageFormat, parseMeta, type RepositoryMeta, serializeMeta } from "#formats/composefs-meta.ts";
import { openDirectory, openFile } from "#linux/descriptor.ts";
import { syncDirectory } from "#linux/sync.ts";
import { openTemporary, publish } from "#linux/temporary-file.ts";
import { measureVerity } from "#linux/verity.ts";
import { readBounded } from "./bounded-file.ts";
import { seal } from "./seal.ts";

/** A composefs repository, as composefs-rs lays it out: objects named by their fs-verity digest, streams, images. */
export interface Repository {
  readonly path: string;
  readonly meta: RepositoryMeta;
  /** The kernel checks every object: each has fs-verity. Else digests are computed and checked by programs alone. */
  readonly secure: boolean;
}

export interface RepositorySettings {
  readonly algorithm: VerityAlgorithm;
  readonly format: ImageFormat;
  readonly extraFormats: readonly ImageFormat[];
  /** `if-possible`: where the file system has fs-verity. */
  readonly verity: "yes" | "if-possible" | "no";
}

/** What `cfsctl init` chooses. */
export const defaultSettings: RepositorySettings = {
  algorithm: "sha512",
  format: 1,
  extraFormats: [],
  verity: "if-possible",
};

const metaFile = "meta.json";
/** Bytes; `parseMeta` takes no more. */
const maxMeta = 1 << 20;

export function repositoryExists(directory: string): boolean {
  return fs.existsSync(path.join(directory, metaFile));
}

/**
 * Makes an empty repository. One that is there with the same settings stays as it is; errors: `unsupported` for one
 * with other settings, for one without a meta.json, and where fs-verity is demanded but not to be had.
 */
export function createRepository(directory: string, settings: RepositorySettings = defaultSettings): Repository {
  if (repositoryExists(directory)) {
    const repository = openRepository(directory);
    refuseOtherSettings(repository, settings);
    return repository;
  }
  refuseWithoutMeta(directory);
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  fs.chmodSync(directory, 0o700);
  fs.mkdirSync(path.join(directory, "objects"), { recursive: true, mode: 0o755 });
  writeMeta(directory, settings);
  return openRepository(directory);
}

/**
 * Opens a repository for reading; who writes locks it too (see lock.ts). Errors: `not-found`, `corrupt`,
 * `unsupported` for what a newer composefs made, and for an old repository without a meta.json.
 */
export function openRepository(directory: string): Repository {
  const file = path.join(directory, metaFile);
  if (!fs.existsSync(file)) {
    refuseWithoutMeta(directory);
    throw new OneholdError("not-found", `no composefs repository at ${directory}`, {
      hint: "Make one with `onehold init --backend composefs`.",
      subject: directory,
    });
  }
  using descriptor = openFile(file, fs.constants.O_RDONLY);
  const meta = parseMeta(readBounded(descriptor.fd, maxMeta, file));
  return { path: directory, meta, secure: typeof measureVerity(descriptor.fd) === "object" };
}

/** Refuses to write (`unsupported`) into a repository with features that we do not know. */
export function refuseReadOnlyRepository(repository: Repository): void {
  const [feature] = repository.meta.readOnlyFeatures;
  if (feature === undefined) return;
  throw new OneholdError(
    "unsupported",
    `the composefs repository ${repository.path} has the feature ${JSON.stringify(feature)}, with which Onehold can only read it`,
    { subject: repository.path },
  );
}

/** Without meta.json nobody can say which algorithm and image format the objects are of. */
function refuseWithoutMeta(directory: string): void {
  if (!fs.existsSync(path.join(directory, "objects"))) return;
  throw new OneholdError(
    "unsupported",
    `the composefs repository ${directory} has no meta.json: an old release made it`,
    {
      subject: directory,
      hint: "Open it once with a current composefs-rs (`cfsctl`), which adds the file; or move it away, and make a new one.",
    },
  );
}

function refuseOtherSettings({ meta, secure, path: subject }: Repository, wanted: RepositorySettings): void {
  const is = `${meta.algorithm}, image format V${[meta.format, ...meta.extraFormats].join(" and V")}`;
  const shall = `${wanted.algorithm}, image format V${[wanted.format, ...wanted.extraFormats].join(" and V")}`;
  if (is === shall && !(wanted.verity === (secure ? "no" : "yes"))) return;
  const verity = secure ? "with fs-verity" : "without fs-verity";
  throw new OneholdError("unsupported", `the composefs repository ${subject} is made for ${is}, ${verity}`, {
    subject,
    hint: "That is fixed for its life: use it as it is, or move it away and make a new one.",
  });
}

/** The file has its name when its bytes, and its fs-verity, are on the disk. */
function writeMeta(directory: string, settings: RepositorySettings): void {
  using folder = openDirectory(directory);
  using file = openTemporary(directory, 0o644);
  fs.writeSync(file.fd, serializeMeta(settings));
  fs.fchmodSync(file.fd, 0o644);
  fs.fsyncSync(file.fd);
  const reader = openFile(`/proc/self/fd/${file.fd}`, fs.constants.O_RDONLY);
  try {
    file[Symbol.dispose]();
    if (
      settings.verity !== "no" &&
      seal(reader.fd, settings.algorithm) === "unsupported" &&
      settings.verity === "yes"
    ) {
      throw new OneholdError("unsupported", `the file system of ${directory} has no fs-verity`, {
        subject: directory,
        hint: "ext4 needs the feature `verity` (tune2fs -O verity), the kernel CONFIG_FS_VERITY; XFS has none yet.",
      });
    }
    if (publish(reader.fd, folder.fd, metaFile) === "exists") refuseOtherSettings(openRepository(directory), settings);
  } finally {
    reader[Symbol.dispose]();
  }
  syncDirectory(directory);
}
