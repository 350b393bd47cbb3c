import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { blockSize, type HeaderBlock, isZeroBlock, paddingOf, parseHeaderBlock } from "./tar.ts";
import { completeMember, type ExtendedHeaders, globalHeaderMember, type TarMember } from "./tar-member.ts";
import { parsePaxRecords } from "./tar-pax.ts";
import { XattrSets } from "./tar-xattrs.ts";

/** Bytes. Go's archive/tar refuses larger extended headers (PAX records, long names), so no image has them. */
const maxExtendedHeader = 1 << 20;

const paxHeader = "x";
const paxGlobalHeader = "g";
const gnuLongName = "L";
const gnuLongLink = "K";
const extendedFlags = new Set([paxHeader, paxGlobalHeader, gnuLongName, gnuLongLink]);

/** What the next bytes are to fill. */
type Expected =
  | { readonly what: "block"; filled: number }
  | { readonly what: "payload"; filled: number; readonly header: HeaderBlock; readonly payload: Buffer };

/**
 * Follows the headers of a tar that arrives in pieces of any size. The caller takes the contents out: once
 * `read` has found a member, the `contentLength` bytes of its content are not given to `read`, the padding
 * behind them is. Holds one extended header at a time.
 */
export class TarHeaders {
  readonly #block = Buffer.alloc(blockSize);
  readonly #xattrSets = new XattrSets();
  #expected: Expected = { what: "block", filled: 0 };
  #extended: ExtendedHeaders = noExtendedHeaders;
  #padding = 0;
  #zeroBlocks = 0;
  #member: TarMember | undefined;

  /**
   * Reads on from `start` until a member's headers are complete, or `bytes` ends; returns where it stopped.
   * What follows the tar's end is passed over.
   * @throws OneholdError "corrupt", "unsupported" for GNU tar's old sparse files
   */
  read(bytes: Buffer, start: number): number {
    let position = start;
    while (position < bytes.length && this.#member === undefined) {
      if (this.#zeroBlocks === 2) return bytes.length;
      if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, bytes.length - position);
        this.#padding -= skipped;
        position += skipped;
      } else {
        position = this.#fill(bytes, position);
      }
    }
    return position;
  }

  /** The member whose headers `read` completed, once; undefined where there is none yet. */
  take(): TarMember | undefined {
    const member = this.#member;
    this.#member = undefined;
    return member;
  }

  /** Says that no more bytes come. @throws OneholdError "corrupt" where the tar ends in the middle of a header */
  end(): void {
    const { what, filled } = this.#expected;
    if (what === "block" && filled === 0 && this.#extended === noExtendedHeaders && this.#member === undefined) return;
    throw new OneholdError("corrupt", "a tar ends in the middle of a header");
  }

  #fill(bytes: Buffer, position: number): number {
    const expected = this.#expected;
    const target = expected.what === "block" ? this.#block : expected.payload;
    const end = Math.min(position + target.length - expected.filled, bytes.length);
    if (expected.what === "block" && end - position === blockSize) {
      this.#acceptBlock(bytes.subarray(position, end)); // nearly always: no need to copy
      return end;
    }
    bytes.copy(target, expected.filled, position, end);
    expected.filled += end - position;
    if (expected.filled < target.length) return end;
    this.#expected = { what: "block", filled: 0 };
    if (expected.what === "block") this.#acceptBlock(target);
    else this.#acceptPayload(expected.header, target);
    return end;
  }

  #acceptBlock(block: Buffer): void {
    if (isZeroBlock(block)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks > 0) throw new OneholdError("corrupt", "a tar goes on after a block of zeros");
    const header = parseHeaderBlock(block);
    if (!extendedFlags.has(header.flag)) {
      this.#finish(completeMember(header, this.#extended, this.#xattrSets));
      this.#padding = paddingOf(this.#member?.contentLength ?? 0);
      return;
    }
    if (header.size < 0 || header.size > maxExtendedHeader) {
      const size = `has ${header.size} bytes, the limit is ${maxExtendedHeader}`;
      throw new OneholdError("corrupt", `the extended header "${displayBytes(header.name)}" of a tar ${size}`);
    }
    if (header.size === 0) this.#acceptPayload(header, Buffer.alloc(0));
    else this.#expected = { what: "payload", filled: 0, header, payload: Buffer.allocUnsafe(header.size) };
  }

  #acceptPayload(header: HeaderBlock, payload: Buffer): void {
    this.#padding = paddingOf(payload.length);
    if (header.flag === paxGlobalHeader) {
      // Go hands it out like a member, and forgets the extended headers before it.
      this.#finish(globalHeaderMember(header, parsePaxRecords(payload)));
    } else if (header.flag === paxHeader) {
      this.#extended = { ...this.#extended, pax: parsePaxRecords(payload) };
    } else {
      const name = upToNul(payload);
      this.#extended = { ...this.#extended, [header.flag === gnuLongName ? "longName" : "longLink"]: name };
    }
  }

  #finish(member: TarMember): void {
    this.#member = member;
    this.#extended = noExtendedHeaders;
  }
}

const noExtendedHeaders: ExtendedHeaders = { pax: undefined, longName: "" as ByteString, longLink: "" as ByteString };

function upToNul(payload: Buffer): ByteString {
  const end = payload.indexOf(0);
  return payload.toString("latin1", 0, end < 0 ? payload.length : end) as ByteString;
}
