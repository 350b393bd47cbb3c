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
