import type { ByteString } from "#base/bytes.ts";
import type { PaxRecords } from "./tar-pax.ts";
import { noXattrs, type Xattr } from "./xattrs.ts";

const prefix = "SCHILY.xattr.";

/** Bytes. With `mostShared` it bounds what a hostile tar can make us keep: 8 MiB. */
const largestShared = 4096;
const mostShared = 2048;

/** The extended attributes in PAX records. The many files of an image that have the same ones share one list. */
export class XattrSets {
  readonly #shared = new Map<string, readonly Xattr[]>();

  /** By ascending name; values may be empty. */
  of(records: PaxRecords): readonly Xattr[] {
    let keys: string[] | undefined;
    for (const key of records.keys()) {
      if (key.length > prefix.length && key.startsWith(prefix)) (keys ??= []).push(key);
    }
    return keys === undefined ? noXattrs : this.#shareOrMake(keys.toSorted(), records);
  }

  #shareOrMake(keys: readonly string[], records: PaxRecords): readonly Xattr[] {
    let identity = "";
    for (const key of keys) {
      const value = records.get(key) ?? "";
      identity += `${key}=${value.length}=${value}`;
    }
    const known = this.#shared.get(identity);
    if (known !== undefined) return known;
    const made = Object.freeze(keys.map((key) => makeXattr(key, records.get(key) ?? "")));
    if (identity.length <= largestShared && this.#shared.size < mostShared) this.#shared.set(identity, made);
    return made;
  }
}

/** The value has memory of its own, so that a message to a worker carries this value and not a whole buffer pool. */
function makeXattr(key: string, text: string): Xattr {
  const value = Buffer.allocUnsafeSlow(text.length);
  value.write(text, "latin1");
  return Object.freeze({ name: key.slice(prefix.length) as ByteString, value });
}
