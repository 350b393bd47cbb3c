import { byteStringOfText } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { canonicalJson } from "#formats/canonical-json.ts";
import { serializeCommit } from "#formats/ostree-commit.ts";
import { serializeDirtree } from "#formats/ostree-dirtree.ts";
import type { CommitMetadataEntry } from "#formats/ostree-metadata.ts";
import { type Checksum, checksumOf, type FileMetadata } from "#formats/ostree-objects.ts";
import type { DirectoryNode } from "#image/tree.ts";
import type { DirectoryObjects, PutMetadata, TreeSerializer } from "./trees.ts";

/** What a merge commit says of its image. */
export interface ImageDocuments {
  readonly manifestDigest: Digest;
  readonly manifest: Buffer;
  readonly config: Buffer;
  /** When the image was made; seconds since 1970. */
  readonly created: number;
}

const importer: CommitMetadataEntry = { key: "ostree.importer.version", type: "s", value: "onehold-1" };
const plainDirectory: FileMetadata = { uid: 0, gid: 0, mode: 0o040755, xattrs: [] };

/** Writes the commits of images as ostree-ext does: same metadata keys in the same order, no subject, no binding to a ref. */
export class CommitWriter {
  readonly #serializer: TreeSerializer;
  readonly #put: PutMetadata;

  constructor(serializer: TreeSerializer, put: PutMetadata) {
    this.#serializer = serializer;
    this.#put = put;
  }

  /** The root that a commit of the tree has. */
  root(tree: DirectoryNode): DirectoryObjects {
    return this.#serializer.serialize(tree);
  }

  /** Of one layer. Its time is 0, so that the same layer has the same commit on every host. */
  layer(tree: DirectoryNode): Checksum {
    return this.#commit(this.#serializer.serialize(tree), [importer], 0);
  }

  /** Of the whole image; `parent` is the commit that it is built on. */
  merge(tree: DirectoryNode, image: ImageDocuments, parent: Checksum | undefined): Checksum {
    const metadata: CommitMetadataEntry[] = [
      { key: "ostree.container.image-config", type: "s", value: canonicalJson(image.config) },
      importer,
      { key: "ostree.manifest", type: "s", value: canonicalJson(image.manifest) },
      { key: "ostree.manifest-digest", type: "s", value: image.manifestDigest },
    ];
    return this.#commit(this.#serializer.serialize(tree), metadata, image.created, parent);
  }

  /** Of a layer that only carries objects: a folder of them, each named by its checksum. */
  objectSet(checksums: readonly Checksum[]): Checksum {
    const bytes = serializeDirtree({
      files: checksums.map((checksum) => ({ name: byteStringOfText(checksum), checksum })),
      directories: [],
    });
    const tree = checksumOf(bytes);
    this.#put(tree, "dirtree", bytes);
    return this.#commit({ tree, metadata: this.#serializer.dirmeta(plainDirectory) }, [], 0);
  }

  #commit(
    root: DirectoryObjects,
    metadata: readonly CommitMetadataEntry[],
    timestamp: number,
    parent?: Checksum,
  ): Checksum {
    const bytes = serializeCommit({
      metadata,
      ...(parent === undefined ? {} : { parent }),
      subject: "",
      body: "",
      timestamp,
      tree: root.tree,
      treeMetadata: root.metadata,
    });
    const checksum = checksumOf(bytes);
    this.#put(checksum, "commit", bytes);
    return checksum;
  }
}
