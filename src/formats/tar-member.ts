import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { type HeaderBlock, hasContent, type TarEntry, type TarEntryType } from "./tar.ts";
import { type PaxRecords, type PaxSparse, paxNumber, paxSparse, paxText, paxTime } from "./tar-pax.ts";
import type { XattrSets } from "./tar-xattrs.ts";
import { noXattrs } from "./xattrs.ts";

/** A member of a tar, its headers complete. In the tar its content is next. */
export interface TarMember {
  readonly entry: TarEntry;
  /** The size that the headers state, also for types without content. */
  readonly statedSize: number;
  /** Bytes of content in the tar, without padding: of a sparse file, its map and pieces. */
  readonly contentLength: number;
  /** A PAX global header. Podman counts it as a member and ignores what it says. */
  readonly isGlobalHeader: boolean;
}

/** What the extended headers before a member's header block say. */
export interface ExtendedHeaders {
  readonly pax: PaxRecords | undefined;
  /** GNU long names; empty where there are none. */
  readonly longName: ByteString;
  readonly longLink: ByteString;
}

/**
 * Puts a member together as Go's archive/tar does: PAX records over the header block, GNU long names over
 * both, a sparse file's real name and size last.
 * @throws OneholdError "corrupt", "unsupported" for GNU tar's old sparse files
 */
export function completeMember(header: HeaderBlock, extended: ExtendedHeaders, xattrSets: XattrSets): TarMember {
  const pax = extended.pax ?? noRecords;
  const name = extended.longName || (paxText(pax, "path") ?? header.name);
  const flag = header.flag === "\0" ? (name.endsWith("/") ? "5" : "0") : header.flag;
  const storedSize = paxNumber(pax, "size") ?? header.size;
  const contentLength = hasContent(flag) ? storedSize : 0;
  const sparse = paxSparse(pax);
  const statedSize = sparse?.size ?? storedSize;
  if (contentLength < 0 || statedSize < 0) throw corrupt(name, `the size ${Math.min(contentLength, statedSize)}`);
  refuseSparse(name, flag, sparse);
  const entry: TarEntry = {
    name: sparse?.name ?? name,
    type: entryTypes.get(flag) ?? "other",
    mode: header.mode & 0o7777,
    uid: unsigned32(paxNumber(pax, "uid") ?? header.uid, name, "owner"),
    gid: unsigned32(paxNumber(pax, "gid") ?? header.gid, name, "group"),
    size: hasContent(flag) ? statedSize : 0,
    mtime: paxTime(pax, "mtime") ?? { seconds: header.mtime, nanoseconds: 0 },
    linkName: extended.longLink || (paxText(pax, "linkpath") ?? header.linkName),
    devMajor: unsigned32(header.devMajor, name, "device number"),
    devMinor: unsigned32(header.devMinor, name, "device number"),
    xattrs: xattrSets.of(pax),
    sparse: sparse !== undefined,
  };
  return { entry, statedSize, contentLength, isGlobalHeader: false };
}

/** Go reports it as a member without content, under the name of its block or of its own `path` record. */
export function globalHeaderMember(header: HeaderBlock, records: PaxRecords): TarMember {
  const entry: TarEntry = {
    name: paxText(records, "path") ?? header.name,
    type: "other",
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: { seconds: 0, nanoseconds: 0 },
    linkName: "" as ByteString,
    devMajor: 0,
    devMinor: 0,
    xattrs: noXattrs,
    sparse: false,
  };
  return { entry, statedSize: 0, contentLength: 0, isGlobalHeader: true };
}

const noRecords: PaxRecords = new Map();

const entryTypes: ReadonlyMap<string, TarEntryType> = new Map([
  ["0", "file"],
  ["1", "hardlink"],
  ["2", "symlink"],
  ["3", "char"],
  ["4", "block"],
  ["5", "directory"],
  ["6", "fifo"],
]);

function refuseSparse(name: ByteString, flag: string, sparse: PaxSparse | undefined): void {
  if (flag === "S") {
    const message = `the tar entry "${displayBytes(name)}" is a sparse file in GNU tar's old form`;
    throw new OneholdError("unsupported", message, { hint: "Podman refuses such layers too: build the image anew." });
  }
  if (sparse !== undefined && !hasContent(flag)) throw corrupt(name, "a sparse map but no content");
}

function unsigned32(value: number, name: ByteString, what: string): number {
  if (value >= 0 && value <= 0xffff_ffff) return value;
  throw corrupt(name, `the ${what} ${value}, which Linux can't have`);
}

function corrupt(name: ByteString, why: string): OneholdError {
  return new OneholdError("corrupt", `the tar entry "${displayBytes(name)}" has ${why}`);
}
