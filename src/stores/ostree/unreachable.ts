import fs from "node:fs";
import path from "node:path";
import { parseCommit } from "#formats/ostree-commit.ts";
import { parseDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, isChecksum } from "#formats/ostree-objects.ts";
import { commitsOfRemotes, listRefs } from "./refs.ts";
import { readMetadataObject, type Repository } from "./repository.ts";

/** An object that no ref reaches. */
export interface DeadObject {
  readonly checksum: Checksum;
  readonly type: "commit" | "dirtree" | "dirmeta" | "file";
  readonly file: string;
}

/**
 * What `pruneRepository` takes, found without a lock. `without`: as if these refs were gone; `with`: and these commits
 * had one.
 * @throws OneholdError "corrupt" where what must stay can't be read
 */
export function findUnreachable(
  repository: Repository,
  change: { readonly without: ReadonlySet<string>; readonly with: Iterable<Checksum> },
): DeadObject[] {
  const refs = [...listRefs(repository)].filter(([ref]) => !change.without.has(ref)).map(([, commit]) => commit);
  const live = reachableFrom(repository, [...refs, ...commitsOfRemotes(repository), ...change.with]);
  return [...listObjects(repository)].filter(({ checksum, type }) => !live.has(`${checksum}.${type}`));
}

/** As `<checksum>.<type>`. Parents of commits are not followed, and what is missing is passed over: libostree does the same. */
function reachableFrom(repository: Repository, commits: Iterable<Checksum>): Set<string> {
  const live = new Set<string>();
  const trees: Checksum[] = [];
  const addTree = (tree: Checksum, metadata: Checksum) => {
    live.add(`${metadata}.dirmeta`);
    if (live.has(`${tree}.dirtree`)) return;
    live.add(`${tree}.dirtree`);
    trees.push(tree);
  };
  for (const commit of new Set(commits)) {
    live.add(`${commit}.commit`);
    const bytes = readMetadataObject(repository, commit, "commit");
    if (bytes === undefined) continue;
    const { tree, treeMetadata } = parseCommit(bytes);
    addTree(tree, treeMetadata);
  }
  for (let tree = trees.pop(); tree !== undefined; tree = trees.pop()) {
    const bytes = readMetadataObject(repository, tree, "dirtree");
    if (bytes === undefined) continue;
    const { files, directories } = parseDirtree(bytes);
    for (const { checksum } of files) live.add(`${checksum}.file`);
    for (const directory of directories) addTree(directory.tree, directory.metadata);
  }
  return live;
}

function* listObjects(repository: Repository): Generator<DeadObject, void, undefined> {
  const objects = path.join(repository.path, "objects");
  for (const prefix of fs.readdirSync(objects)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const name of fs.readdirSync(path.join(objects, prefix))) {
      const at = name.indexOf(".");
      const checksum = prefix + name.slice(0, at);
      const type = types.find((each) => each === name.slice(at + 1));
      if (type !== undefined && isChecksum(checksum)) yield { checksum, type, file: path.join(objects, prefix, name) };
    }
  }
}

const types = ["commit", "dirtree", "dirmeta", "file"] as const;
