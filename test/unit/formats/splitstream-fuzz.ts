import assert from "node:assert/strict";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { OneholdError } from "#base/errors.ts";
import { parseSplitstream } from "#formats/splitstream.ts";
import { partsOf } from "#formats/splitstream-body.ts";
import { layerStreamEntries } from "#formats/splitstream-layer.ts";
import { Mutator } from "./mutations.ts";
import { alphaStream, configStream, rebuilt, withOldHeader } from "./splitstream-vectors.ts";

/** Reads so many damaged streams: each is refused with a typed error, or read as what it then says. */
export async function fuzzSplitstreams(count: number, seed: number): Promise<{ read: number; refused: number }> {
  const mutator = new Mutator(seed);
  const outcome = { read: 0, refused: 0 };
  for (let i = 0; i < count; i++) {
    const stream = damagedStream(mutator);
    try {
      await readAll(stream);
      outcome.read++;
    } catch (error) {
      const known = error instanceof OneholdError && (error.code === "corrupt" || error.code === "unsupported");
      assert.ok(known, `input ${i} of seed ${seed}: ${String(error)}`);
      outcome.refused++;
    }
  }
  return outcome;
}

/** The file itself, or what its compressed sections say. */
function damagedStream(mutator: Mutator): Buffer {
  const original = mutator.pick([alphaStream, configStream, withOldHeader(configStream)]);
  if (mutator.below(2) === 0) return mutator.mutate(original);
  const { body, names } = sectionsOf(mutator.pick([alphaStream, configStream]));
  const which = mutator.below(3);
  return rebuilt(mutator.pick([alphaStream, configStream]), {
    ...(which === 0 ? {} : { body: zstdCompressSync(mutator.mutate(body)) }),
    ...(which === 1 ? {} : { names: zstdCompressSync(mutator.mutate(names)) }),
  });
}

function sectionsOf(stream: Buffer) {
  const at = (offset: number) => Number(stream.readBigUInt64LE(offset));
  return {
    body: zstdDecompressSync(stream.subarray(at(64), at(72))),
    names: zstdDecompressSync(stream.subarray(at(80), at(88))),
  };
}

async function readAll(stream: Buffer): Promise<void> {
  const head = parseSplitstream(stream, "sha256");
  for (const id of [...head.objectRefs, ...head.streamRefs, ...head.namedRefs.values()])
    assert.match(id, /^[0-9a-f]{64}$/);
  let size = 0;
  for await (const parts of partsOf(head)) {
    for (const part of parts) size += part.kind === "inline" ? part.bytes.length : 1;
  }
  assert.ok(size <= head.size);
  if (head.contentType !== "ocilayer") return;
  for await (const entries of layerStreamEntries(head)) {
    for (const { entry, content } of entries) {
      assert.equal(content?.kind === "object", content !== undefined && entry.size > 64 && !entry.sparse);
    }
  }
}
