import { type ByteString, byteStringOfText, joinBytes } from "#base/bytes.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { directory, type DirectoryNode, type FileNode, type TreeNode } from "#image/tree.ts";

/** A tree in a test: text is a file's content, `→ target` a symlink, an object a directory. */
export interface TreeText {
  readonly [name: string]: string | TreeText | TreeNode;
}

/** A tree, and what its files hold. */
export interface TextTree {
  readonly root: DirectoryNode;
  readonly read: (file: FileNode) => Buffer;
}

export const mtime = { seconds: 0, nanoseconds: 0 };

export function metadata(mode: number, label?: string): FileMetadata {
  const value = Buffer.from(label ?? "");
  const xattrs = label === undefined ? [] : [{ name: byteStringOfText("security.selinux"), value }];
  return { uid: 0, gid: 0, mode, xattrs };
}

export function fileNode(name: string, content = "", label?: string): FileNode {
  const size = Buffer.byteLength(content);
  return {
    kind: "file",
    metadata: metadata(0o100644, label),
    size,
    layer: 0,
    folder: "" as ByteString,
    name: byteStringOfText(name),
    mtime,
  };
}

export function treeOf(text: TreeText): TextTree {
  const contents = new Map<TreeNode, string>();
  const build = (node: TreeText[string], name: ByteString): TreeNode => {
    if (typeof node === "string") {
      if (node.startsWith("→ ")) {
        return { kind: "symlink", metadata: metadata(0o120777), target: byteStringOfText(node.slice(2)), mtime };
      }
      const file = fileNode(name, node);
      contents.set(file, node);
      return file;
    }
    return isNode(node) ? node : buildDirectory(node);
  };
  const buildDirectory = (of: TreeText): DirectoryNode => {
    const children = Object.entries(of).map(([name, child]) => [byteStringOfText(name), child] as const);
    return directory(metadata(0o040755), new Map(children.map(([name, child]) => [name, build(child, name)])));
  };
  return {
    root: buildDirectory(text),
    read: (file) => {
      const content = contents.get(file);
      if (content === undefined) throw new Error(`${file.name} is not a file that a policy has`);
      return Buffer.from(content);
    },
  };
}

function isNode(node: TreeText | TreeNode): node is TreeNode {
  return typeof node["kind"] === "string";
}

/** Path, and label with a NUL as `\0`; `-` where there is none. */
export function labelsOf(node: TreeNode, path = "" as ByteString): string[] {
  const label = node.metadata.xattrs.find(({ name }) => name === "security.selinux")?.value.toString("latin1");
  const children = node.kind === "directory" ? [...node.children] : [];
  return [
    `/${path} ${label?.replaceAll("\0", "\\0") ?? "-"}`,
    ...children.flatMap(([name, child]) => labelsOf(child, joinBytes(path, name))),
  ];
}

export function nodeAt(root: DirectoryNode, ...names: readonly string[]): TreeNode {
  return names.reduce<TreeNode>((node, name) => {
    const child = node.kind === "directory" ? node.children.get(byteStringOfText(name)) : undefined;
    if (child === undefined) throw new Error(`there is no ${name}`);
    return child;
  }, root);
}
