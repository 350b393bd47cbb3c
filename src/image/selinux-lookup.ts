import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { DirectoryNode, TreeNode } from "./tree.ts";

/** As many symlinks as Linux follows for one path. */
const maxSymlinks = 40;

/**
 * The node at a path of a tree, symlinks followed, the last one too; they never lead out of the tree: its root is
 * `/` to them, and `..` of the root is the root. None where there is nothing, or a file on the way.
 * @throws OneholdError "corrupt" where symlinks lead to each other
 */
export function followPath(root: DirectoryNode, path: ByteString): TreeNode | undefined {
  const waiting = namesOf(path).toReversed();
  const above: DirectoryNode[] = [root];
  let node: TreeNode = root;
  let symlinks = 0;
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const directory = above.at(-1) ?? root;
    if (node.kind !== "directory") return undefined;
    if (name === ".." || name === ".") {
      if (name === ".." && above.length > 1) above.pop();
      node = above.at(-1) ?? root;
      continue;
    }
    const child: TreeNode | undefined = directory.children.get(name);
    if (child === undefined) return undefined;
    if (child.kind === "symlink") {
      if (++symlinks > maxSymlinks) throw tooManySymlinks(path);
      if (child.target.startsWith("/")) above.length = 1;
      waiting.push(...namesOf(child.target).toReversed());
      node = above.at(-1) ?? root;
      continue;
    }
    if (child.kind === "directory") above.push(child);
    node = child;
  }
  return node;
}

/**
 * The node at a path of a tree without symlinks, as composefs-rs demands. None where there is nothing.
 * @throws OneholdError "unsupported" where something else than a directory is on the way, or a `..`
 */
export function plainPath(root: DirectoryNode, path: ByteString): TreeNode | undefined {
  let node: TreeNode | undefined = root;
  for (const name of namesOf(path)) {
    if (name === ".") continue;
    if (node.kind !== "directory" || name === "..") throw notPlain(path);
    node = node.children.get(name);
    if (node === undefined) return undefined;
  }
  if (node.kind === "symlink") throw notPlain(path);
  return node;
}

function namesOf(path: ByteString): ByteString[] {
  return path.split("/").filter((name) => name !== "") as ByteString[];
}

function tooManySymlinks(path: ByteString): OneholdError {
  return new OneholdError("corrupt", `more than ${maxSymlinks} symlinks are on the way to /${displayBytes(path)}`);
}

function notPlain(path: ByteString): OneholdError {
  return new OneholdError(
    "unsupported",
    `/${displayBytes(path)} of the image leads through something that is not a directory: composefs-rs reads no SELinux policy there`,
    { hint: "Make /etc/selinux and what the policy has in it real directories and files of the image." },
  );
}
