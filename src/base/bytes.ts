/**
 * File names on Linux are bytes, not text. A ByteString holds one byte in each UTF-16 unit (latin1), so
 * that `===`, `Map` and the default sort order of strings compare the bytes themselves: the order that
 * ostree and composefs demand. Never print one: use `displayBytes`.
 */
export type ByteString = string & { readonly __brand: "ByteString" };

export function byteString(bytes: Buffer | Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1") as ByteString;
}

/** From text of our own source code or of JSON, encoded as UTF-8. */
export function byteStringOfText(text: string): ByteString {
  if (ascii.test(text)) return text as ByteString;
  return Buffer.from(text, "utf8").toString("latin1") as ByteString;
}

export function bytesOf(string: ByteString): Buffer {
  return Buffer.from(string, "latin1");
}

// oxlint-disable-next-line no-control-regex -- ASCII begins with control characters
const ascii = /^[\u0000-\u007f]*$/;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
// oxlint-disable-next-line no-control-regex -- the point is to find them
const unprintable = /[\u0000-\u001f\u007f-\u009f\\]/g;

export function isUtf8(string: ByteString): boolean {
  try {
    utf8.decode(bytesOf(string));
    return true;
  } catch {
    return false;
  }
}

/** For people: UTF-8 as it is, every other byte, control characters and backslashes as \xNN. */
export function displayBytes(string: ByteString): string {
  const escape = (c: string) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`;
  try {
    return utf8.decode(bytesOf(string)).replace(unprintable, escape);
  } catch {
    return string.replace(/[^\x20-\x5b\x5d-\x7e]/g, escape);
  }
}

/** Joins with one slash; an empty side adds nothing. */
export function joinBytes(parent: ByteString, name: ByteString): ByteString {
  if (parent === "") return name;
  return (name === "" ? parent : `${parent}/${name}`) as ByteString;
}
