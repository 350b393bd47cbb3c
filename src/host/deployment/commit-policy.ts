import { type ByteString, byteStringOfText, joinBytes } from "#base/bytes.ts";
import { ostreePolicy, type PolicyOrReason } from "#image/selinux-policy.ts";
import { directory, type DirectoryNode, type FileNode, type TreeNode } from "#image/tree.ts";
import type { CommitFiles } from "#stores/ostree/commit-files.ts";

/** The SELinux policy of a commit that nobody has checked out, which libostree labels its deployments by. */
export function policyOfCommit(files: CommitFiles): PolicyOrReason {
  const contents = new Map<FileNode, ByteString>();
  const nodeAt = (path: ByteString, name: ByteString): TreeNode | undefined => {
    const entry = files.find(path, false);
    switch (entry?.kind) {
      case "directory":
        return directoryOf(entry.names.map((each) => [each, nodeAt(joinBytes(path, each), each)]));
      case "symlink":
        return { kind: "symlink", metadata, target: entry.target, mtime };
      case "file": {
        const node: FileNode = { kind: "file", metadata, size: entry.size, layer: 0, folder: empty, name, mtime };
        contents.set(node, path);
        return node;
      }
      case undefined:
        return undefined;
    }
  };
  const selinux = nodeAt(place, name);
  const etc = directoryOf([[name, selinux]]);
  const usr = directoryOf([[byteStringOfText("etc"), etc]]);
  const root = directoryOf([[byteStringOfText("usr"), usr]]);
  return ostreePolicy(root, (node) => files.read(contents.get(node) ?? empty, node.size));
}

const place = byteStringOfText("usr/etc/selinux");
const name = byteStringOfText("selinux");
const empty = byteStringOfText("");
const metadata = { uid: 0, gid: 0, mode: 0o100644, xattrs: [] };
const mtime = { seconds: 0, nanoseconds: 0 };

function directoryOf(children: readonly (readonly [ByteString, TreeNode | undefined])[]): DirectoryNode {
  const there = children.filter((child): child is readonly [ByteString, TreeNode] => child[1] !== undefined);
  return directory(metadata, new Map(there));
}
