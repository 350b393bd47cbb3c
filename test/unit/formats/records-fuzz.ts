import assert from "node:assert/strict";
import type { ByteString } from "#base/bytes.ts";
import { byteStringOfText } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { crc64 } from "#formats/crc64.ts";
import { parseCommit, serializeCommit } from "#formats/ostree-commit.ts";
import { parseDirtree, serializeDirtree } from "#formats/ostree-dirtree.ts";
import { type Checksum, parseDirmeta, serializeDirmeta } from "#formats/ostree-objects.ts";
import { TarHeaderReader, TarSplitParser, type TarSplitRecord } from "#formats/tar-split.ts";
import { parseXattrs, serializeXattrs } from "#formats/xattrs.ts";
import { directory, type Entry, file, hardlink, symlink, writeTar } from "#fixtures/tar-writer.ts";
import { Mutator } from "./mutations.ts";

/** Bytes of resident memory, and milliseconds for one input. */
const mostMemory = 512e6;
const mostTime = 5000;

export interface Outcome {
  read: number;
  refused: number;
}

/** Damaged tar-split files: each is refused, or its records are such that writing them gives the same records again. */
export function fuzzTarSplit(count: number, seed: number): Outcome {
  const original = tarSplitOf([
    directory("usr", { mtime: 1_700_000_000 }),
    file("usr/file", "content"),
    file("usr/empty", ""),
    symlink("usr/link", "file"),
    hardlink("usr/again", "usr/file"),
    file(`usr/${"long".repeat(50)}`, "x".repeat(700), { xattrs: { "user.origin": "here" } }),
  ]);
  return fuzz(count, seed, (mutator) => {
    const bytes = mutator.mutate(original);
    const records = recordsOf(bytes, 1 + mutator.below(bytes.length + 1));
    const headers = new TarHeaderReader();
    for (const record of records) headers.accept(record);
    assert.deepEqual(recordsOf(linesOf(records), bytes.length + 1), records);
  });
}

/** Damaged GVariants, of all types that ostree's objects have: each is refused, or stands for what can be written again. */
export function fuzzGvariants(count: number, seed: number): Outcome {
  const checksum = (digit: string) => digit.repeat(64) as Checksum;
  const xattrs = [
    { name: byteStringOfText("security.selinux"), value: Buffer.from("system_u:object_r:usr_t:s0\0") },
    { name: byteStringOfText("user.binary"), value: Buffer.from([0, 255]) },
  ];
  const names = ["a", "b", "file", "üml", "z".repeat(255)].map(byteStringOfText);
  const kinds = [
    codec(
      serializeDirtree({
        files: names.map((name) => ({ name, checksum: checksum("a") })),
        directories: names.map((name) => ({
          name: `${name.slice(0, 200)}.d` as ByteString,
          tree: checksum("b"),
          metadata: checksum("c"),
        })),
      }),
      parseDirtree,
      serializeDirtree,
    ),
    codec(serializeDirmeta({ uid: 0, gid: 5, mode: 0o041777, xattrs }), parseDirmeta, serializeDirmeta),
    codec(serializeXattrs(xattrs), (bytes) => parseXattrs(bytes), serializeXattrs),
    codec(
      serializeCommit({
        metadata: [{ key: "ostree.manifest", type: "s", value: '{"a":1}' }],
        parent: checksum("d"),
        subject: "subject",
        body: "",
        timestamp: 1_700_000_000,
        tree: checksum("e"),
        treeMetadata: checksum("f"),
      }),
      parseCommit,
      undefined,
    ),
  ] as const;
  return fuzz(count, seed, (mutator) => kinds[mutator.below(kinds.length)]?.(mutator));
}

function codec<Value>(
  original: Buffer,
  parse: (bytes: Buffer) => Value,
  serialize: ((value: Value) => Buffer) | undefined,
): (mutator: Mutator) => void {
  return (mutator) => {
    const value = parse(mutator.mutate(original));
    if (serialize !== undefined) assert.deepEqual(parse(serialize(value)), value);
  };
}

function fuzz(count: number, seed: number, tryOne: (mutator: Mutator) => void): Outcome {
  const mutator = new Mutator(seed);
  const outcome = { read: 0, refused: 0 };
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    try {
      tryOne(mutator);
      outcome.read++;
    } catch (error) {
      const known = error instanceof OneholdError && (error.code === "corrupt" || error.code === "unsupported");
      if (!known) throw new Error(`input ${i} of seed ${seed}`, { cause: error });
      outcome.refused++;
    }
    const time = performance.now() - start;
    assert.ok(time < mostTime, `input ${i} of seed ${seed} took ${time} ms`);
  }
  const memory = process.resourceUsage().maxRSS * 1024;
  assert.ok(memory < mostMemory, `${memory} bytes of memory`);
  return outcome;
}

function recordsOf(bytes: Buffer, piece: number): TarSplitRecord[] {
  const parser = new TarSplitParser();
  const records: TarSplitRecord[] = [];
  for (let at = 0; at < bytes.length; at += piece) records.push(...parser.push(bytes.subarray(at, at + piece)));
  parser.end();
  return records;
}

function linesOf(records: readonly TarSplitRecord[]): Buffer {
  const lines = records.map((record, position) =>
    record.type === "segment"
      ? { type: 2, payload: record.bytes.toString("base64"), position }
      : {
          type: 1,
          name_raw: Buffer.from(record.name, "latin1").toString("base64"),
          size: record.size,
          payload: record.crc64?.toString("base64") ?? null,
          position,
        },
  );
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

/** As tar-split takes a tar apart: headers with the padding before them, then what is taken out. */
function tarSplitOf(entries: readonly Entry[]): Buffer {
  const records: TarSplitRecord[] = [];
  let padding = Buffer.alloc(0);
  for (const entry of entries) {
    const content = Buffer.from(typeof entry.content === "string" ? entry.content : "");
    const padded = Math.ceil(content.length / 512) * 512;
    const tar = Buffer.concat([...writeTar([entry])]).subarray(0, -1024);
    records.push({ type: "segment", bytes: Buffer.concat([padding, tar.subarray(0, tar.length - padded)]) });
    const size = content.length;
    const name = Buffer.from(entry.name).toString("latin1") as ByteString;
    records.push({ type: "file", name, size, crc64: size === 0 ? undefined : crc64(content) });
    padding = Buffer.alloc(padded - size);
  }
  records.push({ type: "segment", bytes: Buffer.concat([padding, Buffer.alloc(1024)]) });
  return linesOf(records);
}
