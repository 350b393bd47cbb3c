import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { DumpParser } from "#formats/composefs-dump-parser.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import { type ComposefsCompat, type ComposefsDirectory, isWhiteout } from "#formats/composefs-tree.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { composefsTree } from "#stores/composefs/image-tree.ts";
import { seal } from "#stores/composefs/seal.ts";
import { clearStaging, makeStagingIn, publishInto } from "#stores/composefs/staging.ts";
import { demandOutputFile, writeOutputFile } from "./output-file.ts";
import { scanDirectory } from "./root-directory.ts";
import { readContents, type ReadingContext } from "./root-directory-contents.ts";

/** What to make an image of, and how. */
export interface MkfsRequest {
  /** A directory, or a dump file: `-` for stdin. */
  readonly source: string;
  readonly fromFile: boolean;
  readonly image: string;
  readonly compat: ComposefsCompat;
  /** undefined: 1; with "c" 0, or 1 where there are whiteouts. */
  readonly format: ImageFormat | undefined;
  /** undefined: sha512; with "c" sha256. */
  readonly algorithm: VerityAlgorithm | undefined;
  /** Where the objects go. */
  readonly digestStore: string | undefined;
}

export interface MadeImage {
  readonly image: string;
  readonly format: ImageFormat;
  readonly algorithm: VerityAlgorithm;
  /** The image's fs-verity digest, in hex. */
  readonly digest: string;
  /** Bytes of the image itself. */
  readonly size: number;
  /** Objects that the store did not have before; null without a store. */
  readonly newObjects: number | null;
}

/**
 * Makes a composefs image of a directory or a dump file, in one step: a file that is there stays as it was until the
 * new one is whole. Errors: "not-found", "corrupt" for a dump file that is none, "unsupported" for what no image can hold.
 */
export async function makeImage(request: MkfsRequest, context: ReadingContext): Promise<MadeImage> {
  const { source, fromFile, image, compat, digestStore } = request;
  const algorithm = request.algorithm ?? (compat === "c" ? "sha256" : "sha512");
  demandOutputFile(image);
  const { tree, newObjects } = fromFile
    ? { tree: readDump(source, compat), newObjects: null }
    : await readDirectory(source, compat, algorithm, digestStore, context);
  const format = request.format ?? (compat === "rust" || hasWhiteouts(tree) ? 1 : 0);
  const bytes = writeErofs(tree, { format, compat });
  writeOutputFile(image, bytes);
  const digest = verityDigest(algorithm, bytes).toString("hex");
  return { image, format, algorithm, digest, size: bytes.length, newObjects };
}

async function readDirectory(
  source: string,
  compat: ComposefsCompat,
  algorithm: VerityAlgorithm,
  digestStore: string | undefined,
  context: ReadingContext,
): Promise<{ tree: ComposefsDirectory; newObjects: number | null }> {
  if (fs.statSync(source, { throwIfNoEntry: false })?.isFile()) {
    throw new OneholdError("usage", `${source} is a file, not a directory`, {
      subject: source,
      hint: "With --from-file it is read as a dump file.",
    });
  }
  const scanned = scanDirectory(source, compat === "c" ? "split" : "kept");
  if (digestStore === undefined) {
    const contentOf = await readContents(source, scanned, algorithm, context);
    return { tree: composefsTree(scanned, contentOf), newObjects: null };
  }
  makeStore(digestStore);
  clearStaging({ path: digestStore });
  using staging = makeStagingIn(digestStore);
  const contentOf = await readContents(source, scanned, algorithm, context, {
    objects: digestStore,
    staging: staging.path,
    policy: { method: "reflink", allowCopy: true, sealSources: false, ownInodes: true },
  });
  sealAll(staging.path, algorithm);
  const { published } = publishInto(digestStore, staging);
  return { tree: composefsTree(scanned, contentOf), newObjects: published };
}

function makeStore(folder: string): void {
  try {
    withSystemErrors(() => fs.mkdirSync(folder, { recursive: true, mode: 0o755 }));
  } catch (error) {
    if (!isErrno(error, "EEXIST", "ENOTDIR")) throw error;
    throw new OneholdError("not-found", `${folder} is not a directory, so objects can't go there`, {
      cause: error,
      subject: folder,
      hint: "Name a directory with --digest-store; it is made where it is missing.",
    });
  }
}

/** Gives new objects fs-verity where the file system has it, as mkcomposefs does. */
function sealAll(staging: string, algorithm: VerityAlgorithm): void {
  for (const prefix of fs.readdirSync(staging)) {
    const folder = path.join(staging, prefix);
    for (const name of fs.readdirSync(folder)) {
      using file = openFile(path.join(folder, name), fs.constants.O_RDONLY);
      if (seal(file.fd, algorithm) === "unsupported") return;
    }
  }
}

const pieceSize = 1 << 20;

function readDump(source: string, compat: ComposefsCompat): ComposefsDirectory {
  using file = source === "-" ? undefined : openDump(source);
  try {
    return parse(file?.fd ?? 0, compat);
  } catch (error) {
    if (!(error instanceof OneholdError) || error.code !== "corrupt") throw error;
    throw new OneholdError("corrupt", `${source === "-" ? "stdin" : source}: ${error.message}`, {
      cause: error,
      subject: source,
      hint: "`onehold internals composefs dump` and `composefs-info dump` print what can be read here.",
    });
  }
}

function parse(fd: number, compat: ComposefsCompat): ComposefsDirectory {
  const parser = new DumpParser(compat);
  const piece = Buffer.allocUnsafeSlow(pieceSize);
  for (;;) {
    const count = withSystemErrors(() => fs.readSync(fd, piece));
    if (count === 0) return parser.end();
    parser.push(piece.subarray(0, count));
  }
}

function openDump(source: string): Descriptor {
  let file: Descriptor;
  try {
    file = openFile(source, fs.constants.O_RDONLY);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
    throw new OneholdError("not-found", `there is no dump file ${source}`, {
      cause: error,
      subject: source,
      hint: "Name the file, or - for stdin.",
    });
  }
  if (!fs.fstatSync(file.fd).isDirectory()) return file;
  file[Symbol.dispose]();
  throw new OneholdError("usage", `${source} is a directory, no dump file`, {
    subject: source,
    hint: "Leave --from-file out to make an image of the directory.",
  });
}

/** Format 0 shows them otherwise than what they are of: mkcomposefs takes 1 then. */
function hasWhiteouts(directory: ComposefsDirectory): boolean {
  return directory.entries
    .values()
    .some((inode) => (inode.kind === "directory" ? hasWhiteouts(inode) : isWhiteout(inode)));
}
