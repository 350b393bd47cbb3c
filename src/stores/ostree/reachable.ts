import { parseCommit } from "#formats/ostree-commit.ts";
import { parseDirtree } from "#formats/ostree-dirtree.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { readMetadataObject, type Repository } from "./repository.ts";

/** The file objects that a commit's tree needs, each once. What is missing in the repository is passed over. */
export function fileObjectsOf(repository: Repository, commit: Checksum): Set<Checksum> {
  const files = new Set<Checksum>();
  const seen = new Set<Checksum>();
  const bytes = readMetadataObject(repository, commit, "commit");
  const todo = bytes === undefined ? [] : [parseCommit(bytes).tree];
  for (let tree = todo.pop(); tree !== undefined; tree = todo.pop()) {
    if (seen.has(tree)) continue;
    seen.add(tree);
    const stored = readMetadataObject(repository, tree, "dirtree");
    if (stored === undefined) continue;
    const dirtree = parseDirtree(stored);
    for (const file of dirtree.files) files.add(file.checksum);
    for (const directory of dirtree.directories) todo.push(directory.tree);
  }
  return files;
}
