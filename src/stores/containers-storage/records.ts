import * as v from "valibot";
import { type Digest, isDigest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";

const digest = v.pipe(
  v.string(),
  v.custom<Digest>((text) => typeof text === "string" && isDigest(text), "not a digest"),
);
const size = v.pipe(v.number(), v.integer(), v.minValue(0));
/** Go writes an empty slice as absent or as null. */
const strings = v.optional(
  v.pipe(
    v.nullable(v.array(v.string())),
    v.transform((list) => list ?? []),
  ),
  null,
);

const storedLayer = v.object({
  id: v.string(),
  parent: v.optional(v.string()),
  created: v.optional(v.string()),
  "compressed-diff-digest": v.optional(digest),
  "compressed-size": v.optional(size),
  "diff-digest": v.optional(digest),
  "diff-size": v.optional(size),
  "toc-digest": v.optional(digest),
  flags: v.nullish(v.record(v.string(), v.unknown())),
});

const storedImage = v.object({
  id: v.string(),
  digest: v.optional(digest),
  names: strings,
  layer: v.optional(v.string()),
  "mapped-layers": strings,
  created: v.optional(v.string()),
  "big-data-names": strings,
  "big-data-digests": v.nullish(v.record(v.string(), v.string())),
});

const storedContainer = v.object({
  id: v.string(),
  names: strings,
  image: v.optional(v.string()),
  layer: v.optional(v.string()),
});

/** The part of a record in layers.json that is of use here. */
export type StoredLayer = v.InferOutput<typeof storedLayer>;
/** … in images.json. */
export type StoredImage = v.InferOutput<typeof storedImage>;
/** … in containers.json. */
export type StoredContainer = v.InferOutput<typeof storedContainer>;

/** Records of one of the store's files. A file that is not there, or empty, has none. @throws corrupt */
export function parseLayers(text: string | undefined, path: string): StoredLayer[] {
  return parseRecords(storedLayer, text, path);
}

export function parseImages(text: string | undefined, path: string): StoredImage[] {
  return parseRecords(storedImage, text, path);
}

export function parseContainers(text: string | undefined, path: string): StoredContainer[] {
  return parseRecords(storedContainer, text, path);
}

/** True for a layer whose creation or removal has not been finished: podman deletes it when it next opens the store. */
export function isIncomplete(layer: StoredLayer): boolean {
  return layer.flags?.["incomplete"] === true;
}

function parseRecords<Schema extends v.GenericSchema>(
  schema: Schema,
  text: string | undefined,
  path: string,
): v.InferOutput<Schema>[] {
  if (text === undefined || text === "") return [];
  const result = v.safeParse(v.nullable(v.array(schema)), parseJson(text, path));
  if (result.success) return result.output ?? [];
  const [issue] = result.issues;
  throw corruptRecords(path, `${v.getDotPath(issue) ?? "the whole"}: ${issue.message}`);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw corruptRecords(path, messageOf(error), error);
  }
}

export function corruptRecords(path: string, why: string, cause?: unknown): OneholdError {
  return new OneholdError("corrupt", `the image store's record file ${path} cannot be understood: ${why}`, {
    subject: path,
    hint: "Nothing was changed. See whether podman can still list the store (podman --root … images).",
    cause,
  });
}
