import fs from "node:fs";
import { type ByteString, bytesOf, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import type { ComposefsCompat, ComposefsDirectory } from "#formats/composefs-tree.ts";
import { readErofs } from "#formats/erofs-reader.ts";
import { readSuperblock } from "#formats/erofs-superblock.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { readBounded } from "#stores/composefs/bounded-file.ts";
import { maxImage } from "#stores/composefs/image-objects.ts";
import { readObject } from "#stores/composefs/objects.ts";
import { type ImageName, type NamedImage, openNamedImage } from "./composefs-image.ts";
import { countTree, type TreeCounts } from "./composefs-tree-counts.ts";

/** What a composefs image is and holds. */
export interface ImageInfo extends Omit<TreeCounts, "objects" | "digestSize"> {
  /** As the user named it. */
  readonly image: string;
  readonly format: ImageFormat;
  /** That of its objects; else of the repository; of an image alone without objects, composefs-rs's default. */
  readonly algorithm: VerityAlgorithm;
  /** The image's own fs-verity digest, in hex. */
  readonly digest: string;
  /** Bytes of the image itself. */
  readonly size: number;
  readonly objects: { readonly count: number; readonly bytes: number };
  /** Objects that are not in the folder of objects; null where there is no such folder. */
  readonly missingObjects: number | null;
}

/** The image as a dump file. Errors: those of `openNamedImage` and `readErofs`; "corrupt" for an image of another digest. */
export function dumpImage(name: ImageName, compat: ComposefsCompat): Buffer {
  using named = openNamedImage(name);
  return writeDump(parse(name, bytesOfImage(name, named)), compat);
}

/** Errors: as of `dumpImage`. */
export function inspectImage(name: ImageName): ImageInfo {
  using named = openNamedImage(name);
  const bytes = bytesOfImage(name, named);
  const { objects, digestSize, ...counts } = countTree(parse(name, bytes));
  const algorithm = algorithmOf(digestSize) ?? named.repository?.meta.algorithm ?? "sha512";
  return {
    image: name.image,
    format: readSuperblock(bytes).format,
    algorithm,
    digest: verityDigest(algorithm, bytes).toString("hex"),
    size: bytes.length,
    ...counts,
    objects: { count: objects.size, bytes: objects.values().reduce((sum, size) => sum + size, 0) },
    missingObjects: fs.existsSync(named.objects) ? missing(named, objects.keys()).length : null,
  };
}

/** The paths of an image's objects below the folder of objects, in the order of their bytes. Errors: as of `dumpImage`. */
export function objectsOfNamedImage(name: ImageName): string[] {
  using named = openNamedImage(name);
  return paths(objectsOf(name, named));
}

/** Those of them that are not there. Errors: also "not-found" where there is no folder of objects. */
export function missingObjectsOfNamedImage(name: ImageName): string[] {
  using named = openNamedImage(name);
  if (!fs.existsSync(named.objects)) {
    throw new OneholdError("not-found", `there is no folder of objects at ${named.objects}`, {
      subject: named.objects,
      hint: "Name the folder that holds it with --repo.",
    });
  }
  return paths(missing(named, objectsOf(name, named)));
}

function objectsOf(name: ImageName, named: NamedImage): Iterable<ByteString> {
  return countTree(parse(name, bytesOfImage(name, named))).objects.keys();
}

function missing({ objects }: NamedImage, files: Iterable<ByteString>): ByteString[] {
  const folder = Buffer.from(`${objects}/`);
  return [...files].filter((file) => !fs.existsSync(Buffer.concat([folder, bytesOf(file)])));
}

function paths(files: Iterable<ByteString>): string[] {
  return [...files].toSorted().map(displayBytes);
}

/** Of a repository's image, what its digest says. */
function bytesOfImage({ image }: ImageName, { file, repository, id }: NamedImage): Buffer {
  if (repository === undefined || id === undefined) return readBounded(file.fd, maxImage, image);
  const bytes = readObject(repository, id, maxImage);
  if (bytes === undefined) throw new Error(`the object of ${image} has gone`);
  return bytes;
}

function parse({ image }: ImageName, bytes: Buffer): ComposefsDirectory {
  try {
    return readErofs(bytes);
  } catch (error) {
    if (!(error instanceof OneholdError)) throw error;
    throw new OneholdError(error.code, `${image}: ${error.message}`, {
      cause: error,
      subject: image,
      hint: "It is no image that composefs made, or was damaged since: make it again.",
    });
  }
}

function algorithmOf(digestSize: number | undefined): VerityAlgorithm | undefined {
  if (digestSize === undefined) return undefined;
  return digestSize === 32 ? "sha256" : "sha512";
}
