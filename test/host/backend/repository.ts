import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { hexOf } from "#base/digest.ts";
import { blobPath, type Image, type OciLayout } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { openRepository } from "#stores/composefs/repository.ts";

/** A stream, read by the facts on the format and by no code of ours. */
function readStream(repository: string, name: string): { body: Buffer; objects: string[] } {
  const file = readFileSync(join(repository, "streams", name));
  assert.equal(file.toString("latin1", 0, 11), "SplitStream");
  const digestSize = file[14] === 1 ? 32 : 64;
  const info = Number(file.readBigUInt64LE(16));
  const range = (at: number) =>
    file.subarray(Number(file.readBigUInt64LE(info + at)), Number(file.readBigUInt64LE(info + at + 8)));
  const refs = range(16);
  const objects = Array.from({ length: refs.length / digestSize }, (_, i) =>
    refs.toString("hex", i * digestSize, (i + 1) * digestSize),
  );
  return { body: zstdDecompressSync(range(32)), objects };
}

/** The objects that hold the files of all layers. */
export function fileObjects(repository: string): Set<string> {
  const layers = readdirSync(join(repository, "streams")).filter((name) => name.startsWith("oci-layer-"));
  return new Set(layers.flatMap((name) => readStream(repository, name).objects));
}

/** The bytes that a stream stands for. */
export function reassemble(repository: string, name: string): Buffer {
  const { body, objects } = readStream(repository, name);
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const n = Number(body.readBigInt64LE(at));
    at += 8;
    if (n < 0) {
      parts.push(body.subarray(at, at - n));
      at -= n;
    } else {
      parts.push(...objectFiles(repository, objects.slice(n, n + 1)).map((file) => readFileSync(file)));
    }
  }
  return Buffer.concat(parts);
}

/** The layers have their diff IDs, the documents are the registry's, the tag means the manifest. */
export function assertStreams(repository: string, layout: OciLayout, image: Image, tag: string): void {
  for (const diffId of image.diffIds) {
    const bytes = reassemble(repository, `oci-layer-${diffId}`);
    assert.equal(createHash("sha256").update(bytes).digest("hex"), hexOf(diffId));
  }
  const { configDigest, manifestDigest } = image;
  assert.deepEqual(reassemble(repository, `oci-config-${configDigest}`), readFileSync(blobPath(layout, configDigest)));
  assert.deepEqual(
    reassemble(repository, `oci-manifest-${manifestDigest}`),
    readFileSync(blobPath(layout, manifestDigest)),
  );
  assert.equal(tagsOf(repository).get(tag), `../../oci-manifest-${manifestDigest}`);
}

/** Of the refs in streams/refs/oci: where each leads, by its name as a registry has it. */
export function tagsOf(repository: string): Map<string, string> {
  const folder = join(repository, "streams/refs/oci");
  return new Map(
    readdirSync(folder).map((name) => [
      name.replaceAll("%2F", "/").replaceAll("%25", "%"),
      readlinkSync(join(folder, name)),
    ]),
  );
}

export async function assertSound(repository: string): Promise<void> {
  const { problems, objects } = await checkRepository(openRepository(repository));
  assert.deepEqual(problems, []);
  assert.ok(objects > 0);
  assert.deepEqual(
    readdirSync(repository).filter((name) => name.startsWith(".")),
    [],
    "nothing is left in staging",
  );
}

/** Every file and link below a folder, by what tells whether it was touched. */
export function snapshot(folder: string): Map<string, string> {
  return new Map(
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .map((name) => ({ name, stat: lstatSync(join(folder, name), { bigint: true }) }))
      .filter(({ stat }) => !stat.isDirectory())
      .map(({ name, stat }) => {
        const where = stat.isSymbolicLink() ? readlinkSync(join(folder, name)) : `${stat.ino} ${stat.mtimeNs}`;
        return [name, where];
      }),
  );
}

/** Blocks that are used on the file system of a folder, in bytes. */
export async function usedBytes(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}

/** Of these files, those with bytes on disk that no other file shares; what is within the metadata counts as shared. */
export async function filesOfTheirOwn(files: readonly string[]): Promise<string[]> {
  const printed = await runProgram("xargs", ["-0", "-r", "filefrag", "-v"], { input: `${files.join("\0")}\0` });
  const own: string[] = [];
  for (const part of printed.split(/^(?=File size of )/m)) {
    const name = /^File size of (.*) is \d+/m.exec(part)?.[1];
    if (name === undefined) continue;
    const extents = part.split("\n").filter((line) => /^\s*\d+:/.test(line));
    if (extents.some((line) => !/\b(?:shared|inline)\b/.test(line))) own.push(name);
  }
  return own;
}

export function objectFiles(repository: string, ids: Iterable<string>): string[] {
  return [...ids].map((id) => join(repository, "objects", id.slice(0, 2), id.slice(2)));
}

/** When each file of the layers in a folder was last read, where the file system keeps it strictly. */
export function filesRead(folder: string): Map<string, bigint> {
  return new Map(
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.includes("/diff/"))
      .map((name) => ({ name, stat: lstatSync(join(folder, name), { bigint: true }) }))
      .filter(({ stat }) => stat.isFile())
      .map(({ name, stat }) => [name, stat.atimeNs]),
  );
}

/** What stat says: each of these files has whole blocks. */
export async function blocksOf(files: readonly string[]): Promise<number> {
  const printed = await runProgram("stat", ["-c", "%b %B", ...files]);
  return printed
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number))
    .reduce((sum, [blocks = 0, unit = 0]) => sum + blocks * unit, 0);
}
