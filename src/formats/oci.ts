import * as v from "valibot";
import { type Digest, isDigest } from "#base/digest.ts";
import { messageOf, OneholdError } from "#base/errors.ts";

/** The JSON of images: OCI image-spec 1.1, and Docker's image manifest version 2, schema 2. */

/** Bytes. Podman reads no larger manifest or config. */
const maxDocument = 4 << 20;

const digestSchema = v.custom<Digest>(
  (input) => typeof input === "string" && isDigest(input),
  "it is not a digest (sha256: and 64 hex digits)",
);
const sizeSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Go writes an empty map or list as null. */
const stringMapSchema = v.nullish(v.record(v.string(), v.string()), () => ({}));

const platformSchema = v.object({
  architecture: v.string(),
  os: v.string(),
  variant: v.optional(v.string()),
});

const descriptorSchema = v.object({
  mediaType: v.string(),
  digest: digestSchema,
  /** Bytes. */
  size: sizeSchema,
  annotations: stringMapSchema,
  /** Of a manifest in an index. */
  platform: v.optional(platformSchema),
});

const manifestSchema = v.object({
  schemaVersion: v.literal(2),
  /** OCI lets writers leave it out. */
  mediaType: v.optional(v.string(), "application/vnd.oci.image.manifest.v1+json"),
  config: descriptorSchema,
  /** Base first. */
  layers: v.array(descriptorSchema),
  annotations: stringMapSchema,
});

const indexSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string(), "application/vnd.oci.image.index.v1+json"),
  manifests: v.array(descriptorSchema),
  annotations: stringMapSchema,
});

const historySchema = v.pipe(
  v.object({
    created: v.optional(v.string()),
    created_by: v.optional(v.string()),
    comment: v.optional(v.string()),
    empty_layer: v.optional(v.boolean(), false),
  }),
  v.transform(({ created, created_by: createdBy, comment, empty_layer: emptyLayer }) => {
    return { created, createdBy, comment, emptyLayer };
  }),
);

const configSchema = v.pipe(
  v.object({
    architecture: v.string(),
    os: v.string(),
    variant: v.optional(v.string()),
    created: v.nullish(v.string()),
    config: v.nullish(v.object({ Labels: stringMapSchema })),
    rootfs: v.object({ type: v.literal("layers"), diff_ids: v.array(digestSchema) }),
    history: v.nullish(v.array(historySchema)),
  }),
  v.transform(({ architecture, os, variant, created, config, rootfs, history }) => ({
    architecture,
    os,
    variant,
    /** RFC 3339. */
    created: created ?? undefined,
    labels: config?.Labels ?? {},
    /** Of the layers, base first. */
    diffIds: rootfs.diff_ids,
    /** Steps of the build, oldest first; those with `emptyLayer` left no layer. */
    history: history ?? [],
  })),
);

export type Platform = v.InferOutput<typeof platformSchema>;
export type Manifest = v.InferOutput<typeof manifestSchema>;
export type ImageIndex = v.InferOutput<typeof indexSchema>;
export type ImageConfig = v.InferOutput<typeof configSchema>;
export type Compression = "none" | "gzip" | "zstd";

/** @throws OneholdError "corrupt", "unsupported" for Docker's schema 1 */
export function parseManifest(bytes: Buffer): Manifest {
  const document = parseDocument(bytes, "image manifest");
  refuseSchema1(document);
  // One digest must not name two images, whichever way a reader takes it (CVE-2021-41190).
  refuseKeys(document, ["manifests", "fsLayers", "history"], "image manifest");
  const manifest = validate(manifestSchema, document, "image manifest");
  if (!manifestTypes.has(manifest.mediaType)) {
    throw new OneholdError("corrupt", `an image manifest has the media type ${JSON.stringify(manifest.mediaType)}`);
  }
  return manifest;
}

/** A list of manifests, one for each platform. @throws OneholdError "corrupt" */
export function parseIndex(bytes: Buffer): ImageIndex {
  const document = parseDocument(bytes, "image index");
  refuseKeys(document, ["layers", "config", "fsLayers", "history"], "image index");
  const index = validate(indexSchema, document, "image index");
  if (!indexTypes.has(index.mediaType)) {
    throw new OneholdError("corrupt", `an image index has the media type ${JSON.stringify(index.mediaType)}`);
  }
  return index;
}

/** @throws OneholdError "corrupt" */
export function parseConfig(bytes: Buffer): ImageConfig {
  return validate(configSchema, parseDocument(bytes, "image config"), "image config");
}

/** Whether the bytes are an index, to be read with `parseIndex`, and not a manifest. @throws OneholdError "corrupt" */
export function isIndex(bytes: Buffer): boolean {
  const document = parseDocument(bytes, "image manifest or index");
  const type = document["mediaType"];
  return typeof type === "string" && type !== "" ? indexTypes.has(type) : "manifests" in document;
}

/** How a layer of this media type is compressed; undefined for a type that is not known. */
export function compressionOf(mediaType: string): Compression | undefined {
  return layerTypes.get(mediaType);
}

const manifestTypes = new Set([
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
]);

const indexTypes = new Set([
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
]);

const layerTypes: ReadonlyMap<string, Compression> = new Map([
  ["application/vnd.oci.image.layer.v1.tar", "none"],
  ["application/vnd.oci.image.layer.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.v1.tar+zstd", "zstd"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar", "none"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.foreign.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"],
]);

const utf8 = new TextDecoder("utf-8", { fatal: true });

function parseDocument(bytes: Buffer, what: string): Record<string, unknown> {
  if (bytes.length > maxDocument) {
    throw new OneholdError("corrupt", `an ${what} has ${bytes.length} bytes, the limit is ${maxDocument}`);
  }
  let document: unknown;
  try {
    document = JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw new OneholdError("corrupt", `an ${what} is not JSON: ${messageOf(cause)}`, { cause });
  }
  return validate(v.record(v.string(), v.unknown()), document, what);
}

function validate<Schema extends v.GenericSchema>(
  schema: Schema,
  document: unknown,
  what: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, document);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw new OneholdError("corrupt", `an ${what} is wrong${path === null ? "" : ` at ${path}`}: ${issue.message}`);
}

function refuseSchema1(document: Record<string, unknown>): void {
  if (document["schemaVersion"] !== 1) return;
  throw new OneholdError("unsupported", "an image manifest is of Docker's schema 1", {
    hint: "Push the image anew with a current podman, buildah or docker.",
  });
}

function refuseKeys(document: Record<string, unknown>, keys: readonly string[], what: string): void {
  for (const key of keys) {
    if ((document[key] ?? undefined) !== undefined)
      throw new OneholdError("corrupt", `an ${what} has the key ${key}, which makes it ambiguous`);
  }
}
