import { OneholdError } from "#base/errors.ts";
import { array, arrayElements, parseText, text, tuple, tupleMembers, variant, variantChild } from "./gvariant.ts";

/**
 * An entry of a commit's metadata (`a{sv}`), inside the commit or detached in a `.commitmeta` file. Integers
 * in here are little-endian, unlike all others of ostree's. A value of a type that Onehold has no use for is
 * kept as it was serialised.
 */
export type CommitMetadataEntry =
  | { readonly key: string; readonly type: "s"; readonly value: string }
  | { readonly key: string; readonly type: "b"; readonly value: boolean }
  | { readonly key: string; readonly type: "u"; readonly value: number }
  | { readonly key: string; readonly type: "t"; readonly value: bigint }
  | {
      readonly key: string;
      readonly type: "other";
      readonly signature: string;
      readonly value: Buffer;
    };

/** Keeps the order given. */
export function serializeMetadata(entries: readonly CommitMetadataEntry[]): Buffer {
  const elements = entries.map((entry) => {
    if (entry.key === "") throw new Error("a key of commit metadata is not empty");
    return tuple([
      { bytes: text(entry.key), align: 1, fixed: false },
      { bytes: serializeValue(entry), align: 8, fixed: false },
    ]);
  });
  return array(elements, 8);
}

/** @throws OneholdError "corrupt" */
export function parseMetadata(bytes: Buffer, what = "ostree commit metadata"): CommitMetadataEntry[] {
  const keys = new Set<string>();
  return arrayElements(bytes, 8, what).map((element) => {
    const [keyBytes = none, value = none] = tupleMembers(element, entryType, what);
    const key = parseText(keyBytes, `a key of ${what}`);
    if (key === "" || keys.has(key))
      throw new OneholdError("corrupt", `${what} has the key ${JSON.stringify(key)} ${key === "" ? "" : "twice"}`);
    keys.add(key);
    return parseValue(key, value, `${JSON.stringify(key)} of ${what}`);
  });
}

const none = Buffer.alloc(0);
const entryType = [{ align: 1 }, { align: 8 }] as const;

function serializeValue(entry: CommitMetadataEntry): Buffer {
  switch (entry.type) {
    case "s":
      return variant("s", text(entry.value));
    case "b":
      return variant("b", Buffer.of(entry.value ? 1 : 0));
    case "u": {
      const child = Buffer.alloc(4);
      child.writeUInt32LE(entry.value);
      return variant("u", child);
    }
    case "t": {
      const child = Buffer.alloc(8);
      child.writeBigUInt64LE(entry.value);
      return variant("t", child);
    }
    case "other":
      return variant(entry.signature, entry.value);
  }
}

function parseValue(key: string, bytes: Buffer, what: string): CommitMetadataEntry {
  const { signature, child } = variantChild(bytes, what);
  switch (signature) {
    case "s":
      return { key, type: "s", value: parseText(child, what) };
    case "b":
      demandLength(child, 1, what);
      if (child.readUInt8() > 1) throw new OneholdError("corrupt", `${what} is neither true nor false`);
      return { key, type: "b", value: child.readUInt8() === 1 };
    case "u":
      demandLength(child, 4, what);
      return { key, type: "u", value: child.readUInt32LE() };
    case "t":
      demandLength(child, 8, what);
      return { key, type: "t", value: child.readBigUInt64LE() };
    default:
      return { key, type: "other", signature, value: Buffer.from(child) };
  }
}

function demandLength(bytes: Buffer, length: number, what: string): void {
  if (bytes.length !== length)
    throw new OneholdError("corrupt", `${what} has ${bytes.length} bytes, its type has ${length}`);
}
