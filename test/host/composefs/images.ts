import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import { type ObjectId, objectPathOf } from "#formats/composefs-objects.ts";
import type { ComposefsInode } from "#formats/composefs-tree.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { publishImage, type ErofsOfImage } from "#stores/composefs/oci-images.ts";
import type { Repository } from "#stores/composefs/repository.ts";
import { makeStaging, stageObject } from "#stores/composefs/staging.ts";
import { file, writeTar } from "#fixtures/tar-writer.ts";
import { sha256, stageLayer } from "./layers.ts";

/** What a layer is to hold: a file of that name, its content a kilobyte of it. */
export function tarOfFiles(...names: string[]): Buffer {
  return Buffer.concat([...writeTar(names.map((name) => file(name, `${name}\n`.repeat(1024 / (name.length + 1)))))]);
}

/** An EROFS image with a file for each object, and one that tells it from others. */
export function imageOf(format: ImageFormat, name: string, ...objects: ObjectId[]): Buffer {
  const metadata = { permissions: 0o755, uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 }, xattrs: [] };
  const entries = new Map<ByteString, ComposefsInode>([
    [byteStringOfText("name"), { kind: "inline", metadata, content: Buffer.from(name) }],
  ]);
  for (const id of objects) {
    const path = byteStringOfText(objectPathOf(id));
    entries.set(byteStringOfText(id.slice(0, 16)), {
      kind: "external",
      metadata,
      size: 100,
      path,
      digest: Buffer.from(id, "hex"),
    });
  }
  return writeErofs({ kind: "directory", metadata, entries }, { format });
}

export interface TestImage {
  readonly tag: string;
  readonly layers: readonly Buffer[];
  readonly mediaTypes?: "oci" | "docker";
  readonly erofs?: readonly Omit<ErofsOfImage, "id">[];
}

const types = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar",
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar",
  },
};

/** The documents of an image, as a registry would have them. */
export function documentsOf({ layers, mediaTypes = "oci" }: Pick<TestImage, "layers" | "mediaTypes">) {
  const type = types[mediaTypes];
  const config = Buffer.from(
    JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: layers.map(sha256) } }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: sha256(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: type.manifest,
      config: describe(type.config, config),
      layers: layers.map((layer) => describe(type.layer, layer)),
    }),
  );
  return { manifest, config };
}

/** Puts an image into a repository as a pull does. */
export async function addImage(repository: Repository, image: TestImage) {
  using staging = makeStaging(repository);
  const layers = [];
  for (const layer of image.layers) layers.push(await stageLayer(repository, staging, layer));
  const erofs = (image.erofs ?? []).map((each) => {
    const content = imageOf(each.format, `${image.tag} ${each.format} ${each.boot}`);
    return { ...each, id: stageObject(repository, staging, content) };
  });
  const documents = documentsOf(image);
  const { manifestDigest } = await publishImage(repository, staging, {
    ...documents,
    layers,
    erofs,
    tags: [image.tag],
  });
  return { ...documents, manifestDigest, layers, erofs };
}

/** Flips a bit of a file, in its middle. */
export function flipBit(path: string): void {
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

export function inStreams(repository: Repository, name: string): string {
  return join(repository.path, "streams", name);
}
