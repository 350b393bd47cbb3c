import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { byteStringOfText } from "#base/bytes.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, hardlink, symlink } from "#fixtures/tar-writer.ts";
import { type ListedFile, listTree } from "#fixtures/tree-listing.ts";

const objects = "sysroot/ostree/repo/objects";

/** A commit of a bare repository, object by object, as the file system shows them. */
export interface ExportedCommit {
  readonly repository: string;
  readonly commit: string;
  /** By checksum. */
  readonly files: ReadonlyMap<string, ListedFile>;
  /** Names of the commit's files, by the checksum of their object. */
  readonly names: ReadonlyMap<string, readonly string[]>;
}

export async function exportCommit(repository: string, commit: string): Promise<ExportedCommit> {
  const files = new Map<string, ListedFile>();
  for (const listed of await listTree(join(repository, "objects"))) {
    const [, prefix, rest] = /^([0-9a-f]{2})\/([0-9a-f]{62})\.file$/.exec(listed.path) ?? [];
    if (prefix !== undefined && rest !== undefined) files.set(prefix + rest, listed);
  }
  const names = new Map<string, string[]>();
  const printed = await runProgram("ostree", [`--repo=${repository}`, "ls", "-R", "-C", commit]);
  for (const line of printed.split("\n")) {
    const [, checksum = "", path = ""] = /^[-l]\d+ +\d+ +\d+ +\d+ ([0-9a-f]{64}) \/(.*?)(?: -> .*)?$/.exec(line) ?? [];
    if (checksum !== "") names.set(checksum, [...(names.get(checksum) ?? []), path]);
  }
  return { repository, commit, files, names };
}

/** The layer that an encapsulated image begins with: the commit, what lies beside it, all of its directories. */
export function commitLayer(exported: ExportedCommit, checksums: readonly string[]): Entry[] {
  const entries: Entry[] = ["sysroot", "sysroot/ostree", "sysroot/ostree/repo", objects].map((name) => directory(name));
  entries.push(file("sysroot/ostree/repo/config", "[core]\nrepo_version=1\nmode=bare-split-xattrs\n"));
  for (const type of ["commit", "commitmeta"]) {
    const path = join(exported.repository, "objects", objectName(exported.commit, type));
    if (existsSync(path)) entries.push(file(`${objects}/${objectName(exported.commit, type)}`, readFileSync(path)));
  }
  return [...entries, ...metadataObjects(exported), ...fileObjects(exported, checksums)];
}

function metadataObjects({ repository }: ExportedCommit): Entry[] {
  const paths = new Set<string>();
  const folder = join(repository, "objects");
  for (const prefix of readdirSync(folder)) {
    for (const name of readdirSync(join(folder, prefix))) {
      if (/\.(?:dirtree|dirmeta)$/.test(name)) paths.add(`${prefix}/${name}`);
    }
  }
  return [...paths].map((path) => file(`${objects}/${path}`, readFileSync(join(folder, path))));
}

/** File objects in the form bare-split-xattrs, each followed by the names of the checkout as hardlinks to it. */
export function fileObjects(exported: ExportedCommit, checksums: readonly string[]): Entry[] {
  const entries: Entry[] = [];
  const written = new Set<string>();
  for (const checksum of checksums) {
    const object = exported.files.get(checksum);
    if (object === undefined) throw new Error(`no object ${checksum}`);
    const xattrs = serializedXattrs(object);
    const digest = createHash("sha256").update(xattrs).digest("hex");
    const xattrsPath = `${objects}/${objectName(digest, "file-xattrs")}`;
    if (!written.has(digest)) entries.push(file(xattrsPath, xattrs));
    written.add(digest);
    entries.push(hardlink(`${objects}/${objectName(checksum, "file-xattrs-link")}`, xattrsPath));
    entries.push(...fileObject(exported, checksum, object));
  }
  return entries;
}

function* fileObject(exported: ExportedCommit, checksum: string, object: ListedFile): Generator<Entry> {
  const path = `${objects}/${objectName(checksum, "file")}`;
  const { mode, uid, gid } = object;
  const names = (exported.names.get(checksum) ?? []).map((name) => name.replace(/^usr\/etc\//, "etc/"));
  if (object.type === "symlink") {
    const target = Buffer.from(object.linkTarget ?? "", "latin1");
    for (const name of [path, ...names]) yield symlink(name, target, { uid, gid });
    return;
  }
  const content = readFileSync(join(exported.repository, "objects", object.path));
  // The type's bits too, as ostree-ext writes them.
  const attributes = { mode: mode | 0o100000, uid, gid };
  yield file(path, content, attributes);
  for (const name of names) yield content.length === 0 ? file(name, "", attributes) : hardlink(name, path, attributes);
}

/** GVariant `a(ayay)`, sorted by name; small enough for offsets of one byte. */
function serializedXattrs({ xattrs = {} }: ListedFile): Buffer {
  const elements = Object.entries(xattrs)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => {
      const key = Buffer.from(`${byteStringOfText(name)}\0`, "latin1");
      return Buffer.concat([key, Buffer.from(value, "hex"), Buffer.from([key.length])]);
    });
  const ends: number[] = [];
  for (const element of elements) ends.push((ends.at(-1) ?? 0) + element.length);
  const bytes = Buffer.concat([...elements, Buffer.from(ends)]);
  if (bytes.length > 255) throw new Error("more xattrs than this test's writer knows to write");
  return bytes;
}

function objectName(checksum: string, type: string): string {
  return `${checksum.slice(0, 2)}/${checksum.slice(2)}.${type}`;
}
