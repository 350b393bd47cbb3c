import { createHash } from "node:crypto";
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { serializeDirtree } from "#formats/ostree-dirtree.ts";
import {
  type Checksum,
  checksumOf,
  type FileMetadata,
  fileHeader,
  parseChecksum,
  serializeDirmeta,
} from "#formats/ostree-objects.ts";
import type { Xattr } from "#formats/xattrs.ts";
import { setXattr } from "#linux/xattr.ts";

/** Trees that can be made on disk, for `ostree commit`, and whose checksums our own code can say. */
export interface Directory {
  readonly kind: "directory";
  readonly attributes: Attributes;
  readonly children: readonly (readonly [name: string, child: Child])[];
}

export type Child =
  | { readonly kind: "file"; readonly attributes: Attributes; readonly content: Uint8Array }
  | { readonly kind: "symlink"; readonly attributes: Attributes; readonly target: string }
  | Directory;

export interface Attributes {
  readonly uid: number;
  readonly gid: number;
  readonly permissions: number;
  readonly xattrs: readonly Xattr[];
}

export const plain: Attributes = { uid: 0, gid: 0, permissions: 0o755, xattrs: [] };

const names = fc
  .oneof(
    { weight: 9, arbitrary: fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }) },
    { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom("n", "ö"), minLength: 110, maxLength: 127 }) },
  )
  .filter((name) => !/^\.{1,2}$|[/\0]/.test(name) && Buffer.byteLength(name) < 256);

const xattr = fc.tuple(
  fc.constantFrom("user.", "trusted.", "security."),
  fc.stringMatching(/^[a-z_.]{1,20}$/),
  fc.uint8Array({ maxLength: 260 }),
);
const xattrs = fc.uniqueArray(
  xattr.map(([space, name, value]): Xattr => ({ name: `${space}x${name}` as ByteString, value: Buffer.from(value) })),
  { selector: ({ name }) => name, maxLength: 4 },
);
const owner = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4_294_967_294 }));
const attributes = fc.record({ uid: owner, gid: owner, permissions: fc.nat({ max: 0o7777 }), xattrs });
const file = fc.record({ kind: fc.constant("file" as const), attributes, content: fc.uint8Array({ maxLength: 100 }) });
const symlink = fc.record({
  kind: fc.constant("symlink" as const),
  attributes: fc.record({ uid: owner, gid: owner, permissions: fc.constant(0o777), xattrs: fc.constant([]) }),
  target: fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.includes("\0")),
});

export function randomDirectory(depth: number): fc.Arbitrary<Directory> {
  const child: fc.Arbitrary<Child> = fc.oneof(file, symlink, ...(depth === 0 ? [] : [randomDirectory(depth - 1)]));
  const children = fc.uniqueArray(fc.tuple(names, child), { selector: ([name]) => name, maxLength: 8 });
  return fc.record({ kind: fc.constant("directory" as const), attributes, children });
}

/** On disk. Attributes last, for chown clears some of them, and modes do not hold root up. */
export function makeTree(path: string, node: Child): void {
  const { uid, gid, permissions } = node.attributes;
  if (node.kind === "symlink") {
    symlinkSync(node.target, path);
    lchownSync(path, uid, gid);
    return;
  }
  if (node.kind === "file") {
    writeFileSync(path, node.content);
  } else {
    mkdirSync(path);
    for (const [name, child] of node.children) makeTree(join(path, name), child);
  }
  chownSync(path, uid, gid);
  for (const { name, value } of node.attributes.xattrs) setXattr({ path }, name, value);
  chmodSync(path, permissions);
}

/** What our code says of it. */
export function checksumsOf(directory: Directory): { tree: Checksum; metadata: Checksum } {
  const files = [];
  const directories = [];
  for (const [text, child] of directory.children) {
    const name = byteStringOfText(text);
    if (child.kind === "directory") directories.push({ name, ...checksumsOf(child) });
    else files.push({ name, checksum: fileChecksum(child) });
  }
  return {
    tree: checksumOf(serializeDirtree({ files, directories })),
    metadata: checksumOf(serializeDirmeta(metadataOf(directory))),
  };
}

function fileChecksum(node: Exclude<Child, Directory>): Checksum {
  if (node.kind === "symlink") return checksumOf(fileHeader(metadataOf(node), byteStringOfText(node.target)));
  return parseChecksum(
    createHash("sha256")
      .update(fileHeader(metadataOf(node)))
      .update(node.content)
      .digest("hex"),
  );
}

function metadataOf({ kind, attributes: { uid, gid, permissions, xattrs: set } }: Child): FileMetadata {
  const type = { file: 0o100000, symlink: 0o120000, directory: 0o040000 }[kind];
  return { uid, gid, mode: type | permissions, xattrs: set };
}
