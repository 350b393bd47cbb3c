import { type ByteString, byteString, byteStringOfText } from "#base/bytes.ts";
import type { ExternalFile } from "./composefs-tree.ts";

/**
 * What overlayfs reads in an image's xattrs, where the image is the upper of two layers and the folder of objects
 * the lower one; and the names under which a tree's own xattrs of that kind are kept from it.
 */
export const overlayPrefix = "trusted.overlay." as ByteString;
export const escapedPrefix = "trusted.overlay.overlay." as ByteString;
export const metacopyName = "trusted.overlay.metacopy" as ByteString;
export const redirectName = "trusted.overlay.redirect" as ByteString;
/** Of the root, in formats 0 and 1: nothing of the folder of objects shows. */
export const opaqueName = "trusted.overlay.opaque" as ByteString;
export const opaqueRoot = "y" as ByteString;

/** Whiteouts are real devices in format 2. In the others they are empty files with these xattrs, */
export const whiteoutXattrs = ["trusted.overlay.overlay.whiteout", "user.overlay.whiteout"].map(byteStringOfText);
/** and their directory has these, all empty, */
export const whiteoutsXattrs = ["trusted.overlay.overlay.whiteouts", "user.overlay.whiteouts"].map(byteStringOfText);
/** and in format 1 these, of the value `x`. */
export const opaqueXattrs = ["trusted.overlay.overlay.opaque", "user.overlay.opaque"].map(byteStringOfText);
export const opaqueDirectory = "x" as ByteString;

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

/** The digest in a metacopy xattr; "none" where it has none; undefined where it is not well formed. */
export function parseMetacopy(value: ByteString): ByteString | "none" | undefined {
  if (value === "") return "none";
  const header = value.length === 36 ? metacopyHeader[32] : value.length === 68 ? metacopyHeader[64] : undefined;
  return header !== undefined && value.startsWith(header) ? (value.slice(4) as ByteString) : undefined;
}

/** The value of the redirect xattr, empty for none. composefs-rs goes by the digest alone. */
export function redirectValue({ path, digest }: ExternalFile, compat: "rust" | "c"): ByteString {
  if (digest === undefined || compat === "c") return (path === "" ? "" : `/${path}`) as ByteString;
  const hex = digest.toString("hex");
  return `/${hex.slice(0, 2)}/${hex.slice(2)}` as ByteString;
}
