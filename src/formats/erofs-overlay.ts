import { type ByteString, byteString, byteStringOfText } from "#base/bytes.ts";
import type { ComposefsCompat, ExternalFile } from "./composefs-tree.ts";
import type { ErofsFormat } from "./erofs-format.ts";
import { noXattrs, type Xattr } from "./xattrs.ts";

const empty = "" as ByteString;

/**
 * What overlayfs reads in an image's xattrs, where the image is the upper of two layers and the folder of objects
 * the lower one; and the names under which a tree's own xattrs of that kind are kept from it.
 */
const overlayPrefix = "trusted.overlay." as ByteString;
const escapedPrefix = "trusted.overlay.overlay." as ByteString;
export const metacopyName = "trusted.overlay.metacopy" as ByteString;
export const redirectName = "trusted.overlay.redirect" as ByteString;
/** Of the root, in formats 0 and 1: nothing of the folder of objects shows. */
export const opaqueName = "trusted.overlay.opaque" as ByteString;
export const opaqueRoot = "y" as ByteString;

/** Whiteouts are real devices in format 2. In the others they are empty files with these xattrs. */
export const xattrsOfWhiteout: ReadonlyMap<ByteString, ByteString> = new Map(
  ["trusted.overlay.overlay.whiteout", "user.overlay.whiteout"].map((name) => [byteStringOfText(name), empty]),
);

/** What the directory of a whiteout has in formats 0 and 1. */
export function xattrsOfWhiteouts(format: ErofsFormat): ReadonlyMap<ByteString, ByteString> {
  return format === 0 ? whiteouts : whiteoutsAndOpaque;
}

const whiteouts: ReadonlyMap<ByteString, ByteString> = new Map(
  ["trusted.overlay.overlay.whiteouts", "user.overlay.whiteouts"].map((name) => [byteStringOfText(name), empty]),
);
const whiteoutsAndOpaque: ReadonlyMap<ByteString, ByteString> = new Map([
  ...whiteouts,
  ...["trusted.overlay.overlay.opaque", "user.overlay.opaque"].map(
    (name) => [byteStringOfText(name), byteStringOfText("x")] as const,
  ),
]);

/** Whether an empty file would be a whiteout. @param own xattrs of a regular file, under the tree's names */
export function hasWhiteoutMark(own: readonly Xattr[]): boolean {
  return own.some(({ name }) => name === whiteoutMark);
}

const whiteoutMark = "trusted.overlay.whiteout";

/** Xattrs of a tree, without those that an image has added, or put in the place of the tree's own. */
export function withoutXattrs(own: readonly Xattr[], added: ReadonlyMap<ByteString, ByteString>): readonly Xattr[] {
  const kept = own.filter(({ name }) => !added.has(escapeOverlayName(name)));
  return kept.length === 0 ? noXattrs : kept;
}

export function escapeOverlayName(name: ByteString): ByteString {
  if (!name.startsWith(overlayPrefix)) return name;
  return `${escapedPrefix}${name.slice(overlayPrefix.length)}` as ByteString;
}

/** Undefined for a name that is overlayfs's own. */
export function unescapeOverlayName(name: ByteString): ByteString | undefined {
  if (!name.startsWith(overlayPrefix)) return name;
  if (!name.startsWith(escapedPrefix)) return undefined;
  return `${overlayPrefix}${name.slice(escapedPrefix.length)}` as ByteString;
}

/** Version 0, the length of all, no flags, and the number of fs-verity's algorithm. */
const metacopyHeader = { 32: "\x00\x24\x00\x01", 64: "\x00\x44\x00\x02" } as const;

/** The value of the metacopy xattr: the digest that overlayfs demands of the backing file; empty where it demands none. */
export function metacopyValue(digest: Buffer | undefined): ByteString {
  if (digest === undefined) return "" as ByteString;
  const header = digest.length === 32 || digest.length === 64 ? metacopyHeader[digest.length] : undefined;
  if (header === undefined) throw new Error(`a digest of ${digest.length} bytes`);
  return `${header}${byteString(digest)}` as ByteString;
}

/** Where the digest in a metacopy xattr begins; "none" where it has none; undefined where it is not well formed. */
export function parseMetacopy(bytes: Buffer, start: number, end: number): number | "none" | undefined {
  const length = end - start;
  if (length === 0) return "none";
  const algorithm = length === 36 ? 1 : length === 68 ? 2 : undefined;
  const isValid = bytes[start] === 0 && bytes[start + 1] === length && bytes[start + 2] === 0;
  return isValid && algorithm !== undefined && bytes[start + 3] === algorithm ? start + 4 : undefined;
}

/** The value of the redirect xattr, empty for none. composefs-rs goes by the digest alone. */
export function redirectValue({ path, digest }: ExternalFile, compat: ComposefsCompat): ByteString {
  if (digest === undefined || compat === "c") return (path === "" ? "" : `/${path}`) as ByteString;
  const hex = digest.toString("hex");
  return `/${hex.slice(0, 2)}/${hex.slice(2)}` as ByteString;
}
