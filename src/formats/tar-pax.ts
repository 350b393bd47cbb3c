import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { TarEntry } from "./tar.ts";

/** The records of a PAX extended header: text that overrides fields of the next header block. */
export type PaxRecords = ReadonlyMap<string, ByteString>;

/** What the records say of a GNU sparse file. */
export interface PaxSparse {
  readonly name: ByteString | undefined;
  /** The expanded size, in bytes. */
  readonly size: number | undefined;
}

/**
 * Parses the content of an extended header, records of the form `LENGTH KEY=VALUE\n`. A later record of a key
 * replaces an earlier one.
 * @throws OneholdError "corrupt"
 */
export function parsePaxRecords(payload: Buffer): PaxRecords {
  const records = new Map<string, ByteString>();
  const text = payload.toString("latin1");
  for (let start = 0; start < text.length; ) {
    const space = text.indexOf(" ", start);
    const length = space < 0 ? 0 : (decimal(text.slice(start, space)) ?? 0);
    const end = start + length;
    const equals = text.indexOf("=", space);
    if (length < 5 || end > text.length || text[end - 1] !== "\n" || equals < 0 || equals >= end) {
      throw corrupt(`has a record of the wrong form at byte ${start} of ${text.length}`);
    }
    // Not slices of `text`: a name would keep all of it alive, which may be 1 MiB.
    const key = payload.toString("latin1", space + 1, equals);
    const value = payload.toString("latin1", equals + 1, end - 1) as ByteString;
    if (key === "" || (textKeys.has(key) ? value : key).includes("\0")) {
      throw corrupt(`has a bad record ${displayBytes(key as ByteString)}`);
    }
    records.set(key, value);
    start = end;
  }
  return records;
}

/** Of these the value is text that ends at a NUL elsewhere; all others may hold any bytes. */
const textKeys = new Set(["path", "linkpath", "uname", "gname"]);

/** An integer that a record gives. Absent and empty records give none. @throws OneholdError "corrupt" */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const value = paxText(records, key);
  if (value === undefined) return undefined;
  const number = decimal(value);
  if (number === undefined) throw corrupt(`has the ${key} "${displayBytes(value)}"`);
  return number;
}

/** Text that a record gives. An empty record means: what the header block says stays. */
export function paxText(records: PaxRecords, key: string): ByteString | undefined {
  const value = records.get(key);
  return value === "" ? undefined : value;
}

/** @throws OneholdError "corrupt" */
export function paxTime(records: PaxRecords, key: string): TarEntry["mtime"] | undefined {
  const value = paxText(records, key);
  if (value === undefined) return undefined;
  const parts = /^([+-]?\d+)(?:\.(\d*))?$/.exec(value);
  const seconds = parts?.[1] === undefined ? undefined : decimal(parts[1]);
  if (seconds === undefined) throw corrupt(`has the ${key} "${displayBytes(value)}"`);
  const nanoseconds = Number((parts?.[2] ?? "").slice(0, 9).padEnd(9, "0"));
  if (!value.startsWith("-") || nanoseconds === 0) return { seconds, nanoseconds };
  return { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}

/** Tells a sparse file in any of GNU's PAX forms (0.0, 0.1, 1.0) from all others. */
export function paxSparse(records: PaxRecords): PaxSparse | undefined {
  const version = `${records.get("GNU.sparse.major") ?? ""}.${records.get("GNU.sparse.minor") ?? ""}`;
  const isVersioned = version === "0.0" || version === "0.1" || version === "1.0";
  const isUnversioned =
    version === "." && (records.has("GNU.sparse.offset") || paxText(records, "GNU.sparse.map") !== undefined);
  if (!isVersioned && !isUnversioned) return undefined;
  return {
    name: paxText(records, "GNU.sparse.name"),
    size: paxNumber(records, "GNU.sparse.size") ?? paxNumber(records, "GNU.sparse.realsize"),
  };
}

function decimal(text: string): number | undefined {
  if (!/^[+-]?\d{1,19}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

function corrupt(why: string): OneholdError {
  return new OneholdError("corrupt", `a PAX header of a tar ${why}`);
}
