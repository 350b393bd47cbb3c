import * as v from "valibot";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { messageOf, OneholdError } from "#base/errors.ts";

/** Of EROFS images: 0 and 1 are those of the C tools, 2 is composefs-rs's own. */
export type ImageFormat = 0 | 1 | 2;

/** What a composefs repository says of itself in its meta.json; fixed for its life. */
export interface RepositoryMeta {
  readonly algorithm: VerityAlgorithm;
  /** Which layout new images have. */
  readonly format: ImageFormat;
  /** Layouts in which each new image is written as well. */
  readonly extraFormats: readonly ImageFormat[];
  /** Features that we do not know, with which the repository may be read but not written. */
  readonly readOnlyFeatures: readonly string[];
}

const highestVersion = 1;
const v1Feature = "v1_erofs";
/** Bytes; real ones have a few hundred. */
const maxMeta = 1 << 20;

const formatSchema = v.picklist([0, 1, 2]);
const featuresSchema = v.optional(v.array(v.string()), () => []);
const schema = v.object({
  version: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  algorithm: v.string(),
  features: v.optional(
    v.object({
      compatible: featuresSchema,
      "read-only-compatible": featuresSchema,
      incompatible: featuresSchema,
    }),
    () => ({}),
  ),
  erofs_formats: v.optional(v.object({ default: formatSchema, extra: v.optional(v.array(formatSchema), () => []) })),
});

/** @throws OneholdError "corrupt", "unsupported" for what a newer release of composefs may have written */
export function parseMeta(bytes: Buffer): RepositoryMeta {
  const meta = validate(bytes);
  if (meta.version > highestVersion) throw unsupported(`is of version ${meta.version}`);
  const [unknown] = meta.features.incompatible ?? [];
  if (unknown !== undefined) throw unsupported(`demands the feature ${JSON.stringify(unknown)}`);
  const readOnly = meta.features["read-only-compatible"] ?? [];
  return {
    algorithm: parseAlgorithm(meta.algorithm),
    ...formatsOf(meta.erofs_formats, readOnly.includes(v1Feature)),
    readOnlyFeatures: readOnly.filter((feature) => feature !== v1Feature),
  };
}

/** As `cfsctl init` writes it. */
export function serializeMeta(meta: Omit<RepositoryMeta, "readOnlyFeatures">): string {
  const { algorithm, format, extraFormats } = meta;
  const document = {
    version: highestVersion,
    algorithm: `fsverity-${algorithm}-12`,
    features: { compatible: [], "read-only-compatible": format === 1 ? [v1Feature] : [], incompatible: [] },
    erofs_formats: { default: format, ...(extraFormats.length === 0 ? {} : { extra: extraFormats }) },
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function validate(bytes: Buffer): v.InferOutput<typeof schema> {
  if (bytes.length > maxMeta) throw corrupt(`has ${bytes.length} bytes, the limit is ${maxMeta}`);
  let document: unknown;
  try {
    document = JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw corrupt(`is not JSON: ${messageOf(cause)}`);
  }
  const result = v.safeParse(schema, document);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw corrupt(`is wrong at ${v.getDotPath(issue) ?? "its top"}: ${issue.message}`);
}

function parseAlgorithm(text: string): VerityAlgorithm {
  const [, name, blockBits] = /^fsverity-(sha256|sha512)-(\d{1,3})$/.exec(text) ?? [];
  if ((name === "sha256" || name === "sha512") && blockBits === "12") return name;
  throw unsupported(`names the algorithm ${JSON.stringify(text)}, neither fsverity-sha256-12 nor fsverity-sha512-12`);
}

/** Older releases had no erofs_formats, or left it at 2 and listed the feature. */
function formatsOf(formats: v.InferOutput<typeof schema>["erofs_formats"], listsV1: boolean) {
  if (formats !== undefined && (formats.default !== 2 || formats.extra.length > 0)) {
    return { format: formats.default, extraFormats: formats.extra };
  }
  return { format: listsV1 ? 1 : 2, extraFormats: [] } as const;
}

function corrupt(why: string): OneholdError {
  return new OneholdError("corrupt", `a composefs repository's meta.json ${why}`);
}

function unsupported(why: string): OneholdError {
  return new OneholdError("unsupported", `a composefs repository's meta.json ${why}`, {
    hint: "A newer release of composefs made the repository: use that, or make a new repository.",
  });
}
