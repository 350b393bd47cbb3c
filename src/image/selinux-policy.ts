import { createHash } from "node:crypto";
import { type ByteString, byteString, byteStringOfText, displayBytes, isUtf8, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import {
  type ContextFileName,
  contextFileNames,
  composefsContexts,
  type FileContexts,
  libselinuxContexts,
} from "#formats/file-contexts.ts";
import { maxContextsSize } from "#formats/file-contexts-lines.ts";
import { followPath, plainPath } from "./selinux-lookup.ts";
import type { DirectoryNode, FileNode, TreeNode } from "./tree.ts";

/** The SELinux policy that an image brings along, as far as it says what label a file has. */
export interface SelinuxPolicy {
  /** Its name: `targeted`, `default`, … */
  readonly type: ByteString;
  /** The same for two policies whose files are the same, bytes by byte. */
  readonly identity: string;
  readonly contexts: FileContexts;
}

/** An image is labelled by its policy, or for this reason by none. */
export type PolicyOrReason = SelinuxPolicy | { readonly none: string };

/** The content of a file of the tree, whole. Only called for regular files of a bounded size. */
export type ReadFile = (file: FileNode) => Buffer;

/** A configuration file of a few lines. */
const maxConfigSize = 1 << 20;

/**
 * The policy that composefs-rs labels a tree by: that of /etc/selinux, whatever `SELINUX=` says there. Symlinks on
 * the way are refused, as composefs-rs does.
 * @throws OneholdError "corrupt", "unsupported" where composefs-rs would fail too, or beyond our bounds
 */
export function composefsPolicy(root: DirectoryNode, read: ReadFile): PolicyOrReason {
  const selinux = at("etc/selinux");
  if (plainPath(root, selinux) === undefined) return { none: "it has no /etc/selinux" };
  const config = configOf(plainPath(root, joinBytes(selinux, at("config"))), read);
  if (config === undefined) return { none: "it has no /etc/selinux/config" };
  const type = settings(config)
    .find(({ key }) => key.trim().toUpperCase() === "SELINUXTYPE")
    ?.value.trim();
  if (type === undefined) return { none: "its /etc/selinux/config has no SELINUXTYPE" };
  const folder = joinBytes(selinux, type as ByteString);
  const files = contextFiles(folder, (path) => plainPath(root, path), read);
  return { type: type as ByteString, identity: identityOf(files), contexts: composefsContexts(files) };
}

/**
 * The policy that libostree (and with it ostree-ext) labels a tree by: that of /etc/selinux, of /usr/etc/selinux where
 * there is none; only if `SELINUX=` is enforcing or permissive. Symlinks are followed inside the tree.
 * @throws OneholdError "corrupt", "unsupported" where libostree would fail too, or beyond our bounds
 */
export function ostreePolicy(root: DirectoryNode, read: ReadFile): PolicyOrReason {
  const selinux = ["etc/selinux", "usr/etc/selinux"].map(at).find((path) => followPath(root, path) !== undefined);
  if (selinux === undefined) return { none: "it has no /etc/selinux" };
  const config = configOf(followPath(root, joinBytes(selinux, at("config"))), read);
  if (config === undefined) return { none: "it has no /etc/selinux/config" };
  const found = settings(config);
  const isEnabled = found.some(({ key, value }) => key === "SELINUX" && /^(?:enforcing|permissive)/i.test(value));
  if (!isEnabled) return { none: "its /etc/selinux/config does not enable SELinux" };
  const type = found.findLast(({ key }) => key === "SELINUXTYPE")?.value.trim();
  if (type === undefined) throw broken("its /etc/selinux/config enables SELinux but has no SELINUXTYPE");
  const folder = joinBytes(selinux, type as ByteString);
  if (!hasBinaryPolicy(followPath(root, joinBytes(folder, at("policy"))))) {
    throw broken(`/${displayBytes(folder)}/policy has no policy`);
  }
  const files = contextFiles(folder, (path) => followPath(root, path), read);
  const contexts = libselinuxContexts(files);
  if (contexts.labelOf("/" as ByteString, "d") === undefined) throw broken("its policy has no label for /");
  return { type: type as ByteString, identity: identityOf(files), contexts };
}

const at = byteStringOfText;

function configOf(node: TreeNode | undefined, read: ReadFile): ByteString | undefined {
  if (node === undefined) return undefined;
  const config = byteString(contentOf(node, "/etc/selinux/config", maxConfigSize, read));
  if (!isUtf8(config)) throw broken("its /etc/selinux/config is not UTF-8");
  return config;
}

interface Setting {
  readonly key: string;
  readonly value: string;
}

/** Lines with a `=`; a comment's key is not one that anyone asks for. */
function settings(config: ByteString): Setting[] {
  return config.split("\n").flatMap((line) => {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [{ key, value }];
  });
}

function contextFiles(
  folder: ByteString,
  find: (path: ByteString) => TreeNode | undefined,
  read: ReadFile,
): Map<ContextFileName, Buffer> {
  const directory = joinBytes(folder, at("contexts/files"));
  const files = new Map<ContextFileName, Buffer>();
  for (const name of contextFileNames) {
    const path = joinBytes(directory, at(name));
    const node = find(path);
    if (node !== undefined) files.set(name, contentOf(node, `/${displayBytes(path)}`, maxContextsSize, read));
  }
  if (!files.has("file_contexts")) throw broken(`there is no /${displayBytes(directory)}/file_contexts`);
  return files;
}

function contentOf(node: TreeNode, path: string, limit: number, read: ReadFile): Buffer {
  if (node.kind !== "file") throw broken(`${path} is not a regular file`);
  if (node.size > limit) throw new OneholdError("unsupported", `${path} of the image has ${node.size} bytes`);
  return read(node);
}

/** libostree takes its checksum, and fails where there is none. */
function hasBinaryPolicy(folder: TreeNode | undefined): boolean {
  if (folder?.kind !== "directory") return false;
  return [...folder.children].some(([name, node]) => node.kind === "file" && /^policy\.[0-9]+$/.test(name));
}

function identityOf(files: ReadonlyMap<string, Buffer>): string {
  const hash = createHash("sha256");
  for (const [name, bytes] of files) hash.update(`${name} ${bytes.length}\n`).update(bytes);
  return hash.digest("hex");
}

function broken(how: string): OneholdError {
  return new OneholdError("corrupt", `the image's SELinux policy can't be used: ${how}`, {
    hint: "Install a whole policy in the image, or none; ask whoever publishes it.",
  });
}
