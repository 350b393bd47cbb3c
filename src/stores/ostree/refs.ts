import fs from "node:fs";
import path from "node:path";
import type { Digest } from "#base/digest.ts";
import { hexOf } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { escapeRef, isValidRefName, unescapeRef } from "#formats/ostree-refs.ts";
import { removeDurably, writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Repository } from "./repository.ts";

const blobPrefix = "ostree/container/blob/";
const imagePrefix = "ostree/container/image/";
const pinPrefix = "ostree/container/baseimage/onehold/";

/** The commit of one layer, as ostree-ext names it. `digest` is the layer's in the manifest. */
export function blobRef(digest: Digest): string {
  return blobPrefix + escapeRef(digest);
}

/** The merge commit of an image; `reference` is `docker://host/name:tag` and the like. */
export function imageRef(reference: string): string {
  return imagePrefix + escapeRef(reference);
}

/** Protects a merge commit from bootc's clean-up, which drops image refs that no deployment names. */
export function pinRef(manifest: Digest): string {
  return pinPrefix + hexOf(manifest);
}

/** Protects the commit of a deployment that libostree has given no ref (yet). */
export function deploymentRef(commit: Checksum): string {
  return pinPrefix + commit;
}

/** Those two, which are Onehold's alone. */
export function isOwnRef(ref: string): boolean {
  return ref.startsWith(pinPrefix);
}

/** The image reference in an image ref; `undefined` for any other ref. */
export function imageOfRef(ref: string): string | undefined {
  return ref.startsWith(imagePrefix) ? unescapeRef(ref.slice(imagePrefix.length)) : undefined;
}

export function readRef(repository: Repository, ref: string): Checksum | undefined {
  let text: string;
  try {
    text = fs.readFileSync(refFile(repository, ref), "latin1");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
  }
  const match = /^([0-9a-f]{64})\n?$/.exec(text);
  if (match?.[1] === undefined) {
    throw new OneholdError("corrupt", `ref ${ref} in ${repository.path} does not hold a commit's checksum`);
  }
  return match[1] as Checksum;
}

/** Publishes `commit` under `ref`, on disk when it returns. Everything that the commit needs must be there. */
export function writeRef(repository: Repository, ref: string, commit: Checksum): void {
  if (!isValidRefName(ref)) throw new Error(`not a ref name: ${ref}`);
  const file = refFile(repository, ref);
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
  writeFileDurably(file, `${commit}\n`);
  touchRepository(repository);
}

export function deleteRef(repository: Repository, ref: string): boolean {
  const file = refFile(repository, ref);
  if (!fs.existsSync(file)) return false;
  removeDurably(file);
  touchRepository(repository);
  return true;
}

/** The refs of layers, whoever wrote them. */
export function isBlobRef(ref: string): boolean {
  return ref.startsWith(blobPrefix);
}

/** A ref that goes with its image: by a name, or as a pin of ours. */
export function isOfImage(ref: string): boolean {
  return ref.startsWith(imagePrefix) || ref.startsWith(pinPrefix);
}

/** All local refs, with their commits. */
export function listRefs(repository: Repository): Map<string, Checksum> {
  return refsBelow(repository, "");
}

/** Commits that a ref of a remote, or a mirrored one, stands for. */
export function commitsOfRemotes(repository: Repository): Checksum[] {
  return ["../remotes", "../mirrors"].flatMap((folder) => [...refsBelow(repository, folder).values()]);
}

function refsBelow(repository: Repository, top: string): Map<string, Checksum> {
  const refs = new Map<string, Checksum>();
  const visit = (folder: string) => {
    for (const entry of readDirectory(refFile(repository, folder))) {
      const name = path.join(folder, entry.name);
      if (entry.isDirectory()) visit(name);
      else {
        const commit = isValidRefName(name.replace(/^\.\.\//, "")) ? readRef(repository, name) : undefined;
        if (commit !== undefined) refs.set(name, commit);
      }
    }
  };
  visit(top);
  return refs;
}

function readDirectory(directory: string): fs.Dirent[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}

function refFile(repository: Repository, ref: string): string {
  return path.join(repository.path, "refs/heads", ref);
}

/** libostree's readers notice changed refs by the repository folder's time. */
function touchRepository(repository: Repository): void {
  const now = new Date();
  fs.utimesSync(repository.path, now, now);
}
