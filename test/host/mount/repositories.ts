import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runModern } from "#fixtures/modern-chroot.ts";
import { listTree, type ListedFile } from "#fixtures/tree-listing.ts";

export interface MadeImage {
  /** Its fs-verity digest, in hex, as mkcomposefs prints it. */
  readonly digest: string;
  /** The object that holds it. */
  readonly file: string;
}

/** An empty repository with SHA-256, as `cfsctl init --insecure` lays one out. */
export function makeRepository(folder: string): string {
  for (const name of ["objects", "images/refs/deep"]) mkdirSync(join(folder, name), { recursive: true });
  const meta = { version: 1, algorithm: "fsverity-sha256-12", erofs_formats: { default: 0 } };
  writeFileSync(join(folder, "meta.json"), `${JSON.stringify(meta, undefined, 2)}\n`);
  return folder;
}

/** Puts an image of a tree, or of a dump file, into a repository with mkcomposefs, under its digest and a ref. */
export async function addImage(
  repository: string,
  source: string,
  ref: string,
  options: readonly string[] = [],
): Promise<MadeImage> {
  const unnamed = join(repository, "image");
  const objects = options.includes("--from-file") ? [] : [`--digest-store=${join(repository, "objects")}`];
  const digest = (await runModern(["mkcomposefs", "--print-digest", ...objects, ...options, source, unnamed])).trim();
  const object = `objects/${digest.slice(0, 2)}/${digest.slice(2)}`;
  mkdirSync(join(repository, "objects", digest.slice(0, 2)), { recursive: true });
  await runModern(["mv", unnamed, join(repository, object)]);
  symlinkSync(`../${object}`, join(repository, "images", digest));
  symlinkSync(`${"../".repeat(ref.split("/").length)}${digest}`, join(repository, "images/refs", ref));
  return { digest, file: join(repository, object) };
}

/** What must be the same in a tree and in an image of it: all but inodes, and the size and links of directories. */
export async function comparable(folder: string): Promise<Partial<ListedFile>[]> {
  return (await listTree(folder)).map(({ inode: _, links, ...file }) => ({
    ...file,
    links: file.type === "directory" ? 0 : links,
  }));
}
