import fs from "node:fs";
import { type ByteString, bytesOf, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { inlineLimit, objectIdOf } from "#formats/composefs-objects.ts";
import { VerityDigester } from "#formats/fs-verity.ts";
import type { Checksum, FileMetadata } from "#formats/ostree-objects.ts";
import { openBeneath } from "#linux/beneath.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { type ContentReader, readOnce } from "#sharing/read-once.ts";
import type { SharedSource } from "#sharing/share.ts";
import type { StoredContent } from "#stores/composefs/import.ts";
import { type ObjectPolicy, type ObjectTarget, storeObject } from "#stores/composefs/store-object.ts";
import {
  ChecksumReader,
  type FileObjectTarget,
  storeRegular,
  storeSymlink,
  type StoredFileObject,
} from "#stores/ostree/file-objects.ts";

/** Files and symlinks of one layer, for the stores that want them. Sent to a worker, so plain values only. */
export interface FileBatch {
  /** The layer's files (an overlay diff folder). */
  readonly root: string;
  readonly ostree: FileObjectTarget | undefined;
  readonly composefs: { readonly target: ObjectTarget; readonly policy: ObjectPolicy } | undefined;
  readonly files: readonly FileToRead[];
  /** The owners, modes and xattrs that `files` point to. */
  readonly metadata: readonly FileMetadata[];
}

export interface FileToRead {
  readonly path: ByteString;
  /** Bytes, as the layer's tar says. */
  readonly size: number;
  /** Of a symlink. */
  readonly target?: ByteString;
  readonly ostree?: {
    /** Index into the batch's metadata. */
    readonly metadata: number;
    /** What the layer's own checksum demands, where it names its objects itself. */
    readonly expected?: Checksum;
  };
  readonly composefs?: true;
}

/** What became of one file, in each store that wanted it. */
export interface FileRead {
  readonly ostree?: StoredFileObject;
  readonly composefs?: StoredContent;
}

/** Reads each file of a batch once and gives it to the stores, in the order of the batch. Runs in a worker, synchronously. */
export function readFiles(batch: FileBatch): FileRead[] {
  using root = openDirectory(batch.root);
  const table = batch.metadata.map(withBuffers);
  return batch.files.map((file) =>
    file.target === undefined ? readRegular(batch, table, root, file) : readSymlink(batch, table, file, file.target),
  );
}

/** What crosses to a worker arrives with plain byte arrays. */
function withBuffers(metadata: FileMetadata): FileMetadata {
  if (metadata.xattrs.length === 0) return metadata;
  const xattrs = metadata.xattrs.map(({ name, value }) => ({ name, value: Buffer.from(value) }));
  return { ...metadata, xattrs };
}

function readRegular(batch: FileBatch, table: readonly FileMetadata[], root: Descriptor, file: FileToRead): FileRead {
  const path = bytesOf(file.path);
  using source = openBeneath(root.fd, path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  const stat = fs.fstatSync(source.fd);
  if (!stat.isFile() || stat.size !== file.size) {
    const is = stat.isFile() ? `${stat.size} bytes` : "not a regular file";
    throw damaged(batch, file, `is ${is}, its tar says ${file.size} bytes`);
  }
  const opened = { directoryFd: root.fd, path, fd: source.fd, stat };
  const metadata = metadataFor(table, file);
  const ostree = batch.ostree && metadata && new OstreeReader(batch.ostree, metadata, file.size);
  const composefs = file.composefs && batch.composefs && new ComposefsReader(batch.composefs, file.size);
  readOnce(
    source.fd,
    file.size,
    [ostree, composefs].filter((reader) => reader !== undefined),
  );
  const expected = file.ostree?.expected;
  if (ostree !== undefined && expected !== undefined && ostree.checksum() !== expected) {
    const how = `has the ostree checksum ${ostree.checksum()}, its name says ${expected}`;
    throw damaged(batch, file, how, publishedSo);
  }
  return {
    ...(ostree ? { ostree: ostree.store(opened, expected !== undefined) } : {}),
    ...(composefs ? { composefs: composefs.store(opened) } : {}),
  };
}

class OstreeReader extends ChecksumReader {
  readonly #target: FileObjectTarget;
  readonly #metadata: FileMetadata;

  constructor(target: FileObjectTarget, metadata: FileMetadata, size: number) {
    super(metadata, size);
    this.#target = target;
    this.#metadata = metadata;
  }

  store(opened: Omit<SharedSource, "metadata">, fixed: boolean): StoredFileObject {
    return storeRegular(this.#target, opened, this.#metadata, this.checksum(), fixed);
  }
}

const digesters: Partial<Record<VerityAlgorithm, VerityDigester>> = {};

/** Up to 64 bytes composefs keeps as they are; of more it wants the fs-verity digest. */
class ComposefsReader implements ContentReader {
  readonly #store: NonNullable<FileBatch["composefs"]>;
  readonly #digester: VerityDigester | undefined;
  #bytes = new Uint8Array();

  constructor(store: NonNullable<FileBatch["composefs"]>, size: number) {
    const { algorithm } = store.target;
    this.#store = store;
    if (size > inlineLimit) this.#digester = digesters[algorithm] ??= new VerityDigester(algorithm);
  }

  update(piece: Buffer): void {
    if (this.#digester === undefined) this.#bytes = Uint8Array.from(piece);
    else this.#digester.update(piece);
  }

  store(opened: Omit<SharedSource, "metadata">): StoredContent {
    if (this.#digester === undefined) return { kind: "inline", bytes: this.#bytes };
    const { target, policy } = this.#store;
    const id = objectIdOf(this.#digester.digest());
    return { kind: "object", id, outcome: storeObject(target, opened, id, policy) };
  }
}

function readSymlink(batch: FileBatch, table: readonly FileMetadata[], file: FileToRead, target: ByteString): FileRead {
  const metadata = metadataFor(table, file);
  return batch.ostree && metadata ? { ostree: storeSymlink(batch.ostree, target, metadata) } : {};
}

/** What the ostree object shall have; `undefined` where ostree has no use for the file. */
function metadataFor(table: readonly FileMetadata[], { ostree }: FileToRead): FileMetadata | undefined {
  if (ostree === undefined) return undefined;
  const metadata = table[ostree.metadata];
  if (metadata === undefined) throw new Error("a file's metadata is missing from its batch");
  return metadata;
}

const damagedHere = "The image store's copy is damaged: remove the image and pull it again.";
/** Podman has verified the layer that names its objects wrongly. */
const publishedSo =
  "The image was published so: ask whoever did. If another host can import it, remove it here and pull it again.";

function damaged(batch: FileBatch, file: FileToRead, how: string, hint = damagedHere): OneholdError {
  return new OneholdError("corrupt", `${batch.root}/${displayBytes(file.path)} ${how}`, { subject: batch.root, hint });
}
