import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type ByteString, byteString, bytesOf, byteStringOfText, joinBytes } from "#base/bytes.ts";
import { isObjectId, type ObjectId, objectPathOf } from "#formats/composefs-objects.ts";
import { syncDirectory } from "#linux/sync.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Repository } from "./repository.ts";

/** The folders of a repository whose entries are symlinks to objects, with symlinks to those below `refs`. */
export type LinkFolder = "streams" | "images";

const refsFolder = byteStringOfText("refs");
const temporaryPrefix = ".symlink-";

/** A symlink, by its path below where it was looked for; names are bytes, as not all are ours. */
export interface Link {
  readonly name: ByteString;
  readonly target: ByteString;
}

/** Gives an object a name in `streams` or `images`, in one step; whom the name meant before is forgotten. */
export function linkObject(repository: Repository, folder: LinkFolder, name: string, id: ObjectId): void {
  const directory = path.join(repository.path, folder);
  makeDirectory(directory);
  replaceSymlink(directory, name, `../objects/${objectPathOf(id)}`);
}

/** The object that a name in `streams` or `images` means; `undefined` where there is none, or it leads elsewhere. */
export function linkedObject(repository: Repository, folder: LinkFolder, name: string): ObjectId | undefined {
  const target = readLink(Buffer.from(path.join(repository.path, folder, name)));
  return target === undefined ? undefined : objectOfTarget(repository, target);
}

/** The object that a symlink's text leads to. */
export function objectOfTarget(repository: Repository, target: ByteString): ObjectId | undefined {
  const [, first, rest] = /^\.\.\/objects\/([0-9a-f]{2})\/([0-9a-f]+)$/.exec(target) ?? [];
  const id = `${first}${rest}`;
  return isObjectId(id, repository.meta.algorithm) ? id : undefined;
}

/** Whether a killed writer left it: a symlink is made under such a name first. */
export function isUnfinished({ name }: Link): boolean {
  return name.slice(name.lastIndexOf("/") + 1).startsWith(temporaryPrefix);
}

/** The names in `streams` or `images`, refs left out. */
export function listLinks(repository: Repository, folder: LinkFolder): Link[] {
  return linksIn(repository, byteStringOfText(folder)).links;
}

/** All refs of `streams` or `images`, by their path below `refs`. Their targets are roots. */
export function listRefs(repository: Repository, folder: LinkFolder): Link[] {
  const top = joinBytes(byteStringOfText(folder), refsFolder);
  const found: Link[] = [];
  const todo = ["" as ByteString];
  for (let below = todo.pop(); below !== undefined; below = todo.pop()) {
    const { links, folders } = linksIn(repository, joinBytes(top, below));
    for (const { name, target } of links) found.push({ name: joinBytes(below, name), target });
    for (const name of folders) todo.push(joinBytes(below, name));
  }
  return found;
}

/** The name in `streams` or `images` that a ref means: composefs-rs takes the last part of its target for it. */
export function nameOfRef({ target }: Link): ByteString {
  return target.slice(target.lastIndexOf("/") + 1) as ByteString;
}

/** Makes a ref, or gives it a new meaning, on the disk when it returns. What it means is on the disk already. */
export function writeRef(repository: Repository, folder: LinkFolder, ref: string, name: string): void {
  const file = path.join(repository.path, folder, "refs", ref);
  const directory = path.dirname(file);
  makeDirectory(directory);
  replaceSymlink(directory, path.basename(file), path.relative(directory, path.join(repository.path, folder, name)));
  syncDirectory(directory);
}

export function deleteRef(repository: Repository, folder: LinkFolder, ref: string): boolean {
  const file = path.join(repository.path, folder, "refs", ref);
  try {
    fs.unlinkSync(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
  syncDirectory(path.dirname(file));
  return true;
}

/** Whether a symlink, by its path below the repository's folder, leads to something. */
export function leadsSomewhere(repository: Repository, link: ByteString): boolean {
  return fs.existsSync(inRepository(repository, link));
}

/** Removes a symlink, by its path below the repository's folder. */
export function removeLink(repository: Repository, link: ByteString): void {
  fs.unlinkSync(inRepository(repository, link));
}

function linksIn(repository: Repository, folder: ByteString): { links: Link[]; folders: ByteString[] } {
  const links: Link[] = [];
  const folders: ByteString[] = [];
  let names: Buffer[];
  try {
    names = fs.readdirSync(inRepository(repository, folder), { encoding: "buffer" });
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return { links, folders };
    throw error;
  }
  for (const name of names.map(byteString)) {
    const target = readLink(inRepository(repository, joinBytes(folder, name)));
    if (target === undefined) folders.push(name);
    else links.push({ name, target });
  }
  return { links, folders: folder === "streams" || folder === "images" ? [] : folders };
}

function inRepository(repository: Repository, name: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`${repository.path}/`), bytesOf(name)]);
}

function readLink(file: Buffer): ByteString | undefined {
  try {
    return byteString(fs.readlinkSync(file, { encoding: "buffer" }));
  } catch (error) {
    // Gone meanwhile, or no symlink.
    if (isErrno(error, "ENOENT", "ENOTDIR", "EINVAL")) return undefined;
    throw error;
  }
}

function replaceSymlink(directory: string, name: string, target: string): void {
  const temporary = path.join(directory, `${temporaryPrefix}${randomBytes(6).toString("hex")}`);
  fs.symlinkSync(target, temporary);
  try {
    fs.renameSync(temporary, path.join(directory, name));
  } catch (error) {
    fs.unlinkSync(temporary);
    throw error;
  }
}

function makeDirectory(directory: string): void {
  fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
}
