import assert from "node:assert/strict";
import { type ByteString, displayBytes } from "#base/bytes.ts";
import type { ListedFile } from "#fixtures/tree-listing.ts";

/** Directories whose content belongs to the running system. */
const emptied = ["run", "tmp", "proc", "sys", "dev"];

/**
 * What the checkout of an image's merge commit must be, derived from what podman mounts for it and from nothing
 * else: without what ostree can't hold, by its path rules, and with the xattrs that it keeps.
 */
export function expectedInOstree(mounted: readonly ListedFile[]): ListedFile[] {
  const etc = new Set(["usr/etc/hostname", "usr/etc/resolv.conf"]);
  return mounted
    .filter((file) => !emptied.some((name) => file.path.startsWith(`${name}/`)))
    .filter((file) => ["file", "directory", "symlink"].includes(file.type))
    .map((file) => ({ ...file, path: moved(file.path) }))
    .filter((file) => !(etc.has(file.path) && file.size === 0 && file.type === "file"))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function moved(path: ByteString): ByteString {
  return (path === "etc" || path.startsWith("etc/") ? `usr/${path}` : path) as ByteString;
}

/** Equal but for mtimes, which names share an inode, empty xattrs, and the marks of overlay mounts. */
export function assertSameTree(actual: readonly ListedFile[], expected: readonly ListedFile[]): void {
  const lines = (files: readonly ListedFile[]) => new Map(files.map((file) => [file.path, describe(file)]));
  const [a, b] = [lines(actual), lines(expected)];
  const differences: string[] = [];
  for (const path of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(path) !== b.get(path)) {
      differences.push(
        `/${displayBytes(path)}\n  is        ${a.get(path) ?? "missing"}\n  should be ${b.get(path) ?? "missing"}`,
      );
    }
  }
  assert.equal(differences.length, 0, `${differences.length} differences:\n${differences.slice(0, 20).join("\n")}`);
}

function describe({ type, mode, uid, gid, size, sha256, linkTarget, xattrs }: ListedFile): string {
  const kept = Object.entries(xattrs ?? {}).filter(
    ([name, value]) => value !== "" && !name.startsWith("trusted.overlay."),
  );
  return JSON.stringify([type, mode.toString(8), uid, gid, size, sha256, linkTarget, kept]);
}
