import assert from "node:assert/strict";
import { displayBytes } from "#base/bytes.ts";
import type { ListedFile } from "#fixtures/tree-listing.ts";

/**
 * What composefs-rs's rules (transform_for_oci, and for `boot` transform_for_boot) make of what podman mounts, and of
 * nothing else: written here once more, for listings and for the dumps of C's programs.
 */
export interface Rules {
  readonly boot: boolean;
  /** Directories whose owner, mode and age podman chose. */
  readonly unlisted?: ReadonlySet<string>;
}

/** Not at all in the image: what is below these is the running system's. */
function isEmptied(path: string, boot: boolean): boolean {
  return ["run/", ...(boot ? ["boot/", "sysroot/"] : [])].some((folder) => path.startsWith(folder));
}

export function expectedListing(mounted: readonly ListedFile[], { boot }: Rules): ListedFile[] {
  const usr = mounted.find(({ path }) => path === "usr");
  assert.ok(usr);
  return mounted
    .filter(({ path }) => !isEmptied(path, boot))
    .map((file) => {
      const path: string = file.path;
      if (path === "") return { ...usr, path: file.path };
      if (path === "run") return { ...file, mtime: usr.mtime };
      if (boot && (path === "boot" || path === "sysroot"))
        return { ...file, mtime: usr.mtime.replace(/\..*/, "") + file.mtime.replace(/^[^.]*/, "") };
      return file;
    });
}

/** Compares what programs see of two trees, but for inode numbers and xattrs that composefs-rs drops. */
export function assertSameListing(actual: readonly ListedFile[], expected: readonly ListedFile[], rules: Rules): void {
  assertSame(describeAll(actual, rules), describeAll(expected, rules));
}

function assertSame(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): void {
  const differences = [...new Set([...a.keys(), ...b.keys()])]
    .filter((path) => a.get(path) !== b.get(path))
    .map((path) => `${path}\n  is        ${a.get(path) ?? "missing"}\n  should be ${b.get(path) ?? "missing"}`);
  assert.equal(differences.length, 0, `${differences.length} differences:\n${differences.slice(0, 20).join("\n")}`);
}

function describeAll(files: readonly ListedFile[], { unlisted }: Rules): Map<string, string> {
  // Which names are one inode, by the first of them. Its count of links is overlayfs's: that of a layer's own names.
  const names = new Map<string, string>();
  const described = new Map<string, string>();
  for (const { path, type, mode, uid, gid, size, sha256, linkTarget, device, xattrs, mtime, inode } of files) {
    const first = names.get(inode) ?? path;
    names.set(inode, first);
    const kept = Object.entries(xattrs ?? {}).filter(([name]) => name === "security.capability");
    const time = unlisted?.has(path) ? [] : [mtime];
    const inodes = type === "directory" ? [] : [first];
    described.set(
      displayBytes(path),
      JSON.stringify([type, mode.toString(8), uid, gid, size, sha256, linkTarget, device, kept, time, inodes]),
    );
  }
  return described;
}

/** A line of a dump: path, size, mode, links, uid, gid, rdev, mtime, payload, content, digest, xattrs. */
type Line = readonly string[];

/** A dump of what podman mounts, as mkcomposefs sees it, by the same rules; times of `unlisted` are those of `image`. */
export function expectedDump(dump: string, image: string, { boot, unlisted }: Rules): Line[] {
  const lines = linesOf(dump);
  const usr = lines.find(([path]) => path === "/usr");
  assert.ok(usr);
  const times = new Map(linesOf(image).map((line) => [line[0], line[7] ?? ""]));
  const replaced = (line: Line, fields: readonly number[], by: Line): Line =>
    line.map((value, i) => (fields.includes(i) ? (by[i] ?? "") : value));
  return lines
    .filter(([path = ""]) => !isEmptied(path.slice(1), boot))
    .map((line) => {
      const [path = ""] = line;
      const xattrs = line.slice(11).filter((xattr) => xattr.startsWith("security.capability="));
      const clean = [...line.slice(0, 11), ...xattrs];
      if (path === "/")
        return [
          ...replaced(clean.slice(0, 11), [2, 4, 5, 7], usr),
          ...usr.slice(11).filter((xattr) => xattr.startsWith("security.capability=")),
        ];
      const emptied = path === "/run" || (boot && (path === "/boot" || path === "/sysroot"));
      if (path === "/run") return emptyDirectory(replaced(clean, [7], usr));
      if (emptied) return emptyDirectory(clean.with(7, `${seconds(usr)}.${clean[7]?.split(".")[1] ?? ""}`));
      if (unlisted?.has(path.slice(1))) return clean.with(7, times.get(path) ?? "");
      return clean;
    });
}

/** Lines by their paths. mkcomposefs, that scans a folder, knows no hardlinks: each name gets its file's line. */
export function withoutLinks(dump: string): Line[] {
  const lines = linesOf(dump);
  const byPath = new Map(lines.map((line) => [line[0], line]));
  return lines.map((line) => {
    const isLink = line[2]?.startsWith("@") === true;
    const target = isLink ? byPath.get(line[8] ?? "") : line;
    assert.ok(target, `the target of ${line[0] ?? ""}`);
    return [line[0] ?? "", ...(isDirectory(target) ? target : target.with(3, "1")).slice(1)];
  });
}

export function linesOf(dump: string): Line[] {
  return dump
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" "));
}

/** But for the sizes of directories, which tell how their names are packed. */
export function assertSameLines(actual: readonly Line[], expected: readonly Line[]): void {
  const byPath = (lines: readonly Line[]) =>
    new Map(lines.map((line) => [line[0] ?? "", (isDirectory(line) ? line.with(1, "0") : line).join(" ")]));
  assertSame(byPath(actual), byPath(expected));
}

function isDirectory([, , mode = ""]: Line): boolean {
  return /^4[0-7]{4}$/.test(mode);
}

function emptyDirectory(line: Line): Line {
  return line.with(3, "2");
}

function seconds(line: Line): string {
  return line[7]?.split(".")[0] ?? "";
}
