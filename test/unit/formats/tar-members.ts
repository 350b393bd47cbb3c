import type { Dialect } from "#fixtures/tar-headers.ts";
import { type Bytes, type Entry, file, type RawBytes, writeTar } from "#fixtures/tar-writer.ts";
import type { TarEntry } from "#formats/tar.ts";
import { TarHeaders } from "#formats/tar-headers.ts";

export interface Member {
  readonly entry: TarEntry;
  /** As it is in the tar, of a sparse file with its map. */
  readonly content: Buffer;
}

/** All members of a tar. `pieces` says how many bytes the reader gets at a time. */
export function membersOf(tar: Buffer, pieces: () => number = () => tar.length): Member[] {
  const headers = new TarHeaders();
  const members: Member[] = [];
  for (let position = 0; position < tar.length; ) {
    position = headers.read(tar.subarray(0, position + Math.max(1, pieces())), position);
    const member = headers.take();
    if (member === undefined) continue;
    const end = position + member.contentLength;
    if (end > tar.length) throw new Error("the tar ends within a member's content");
    if (!member.isGlobalHeader) members.push({ entry: member.entry, content: tar.subarray(position, end) });
    position = end;
  }
  headers.end();
  return members;
}

/** Of the only member. */
export function entryOf(tar: Buffer): TarEntry {
  const [first, ...rest] = membersOf(tar);
  if (first === undefined || rest.length > 0) throw new Error(`the tar has ${rest.length + 1} members`);
  return first.entry;
}

export const tarOf = (entries: (Entry | RawBytes)[], dialect: Dialect = "pax") =>
  Buffer.concat([...writeTar(entries, { dialect })]);

/** A tar of one member whose header block is changed before its checksum is made right. */
export function tarWith(entry: Entry, change: (block: Buffer) => void, dialect: Dialect = "ustar"): Buffer {
  const tar = tarOf([entry], dialect);
  change(tar.subarray(0, 512));
  fixChecksum(tar.subarray(0, 512));
  return tar;
}

/** Makes the checksum of a changed header block right. */
export function fixChecksum(block: Buffer): void {
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

/** A PAX header alone, without the member that it is for. */
export const paxHeader = (pax: Readonly<Record<string, Bytes>>): RawBytes => ({
  raw: tarOf([file("n", "", { pax })]).subarray(0, 1024),
});
