import type { Digest } from "#base/digest.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import type { FileNode, SymlinkNode } from "#image/tree.ts";
import type { SharingAccount } from "#sharing/account.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import type { ImageDocuments } from "./commits.ts";
import type { LeftOut } from "./path-rules.ts";
import type { FileToImport } from "./wanted-objects.ts";

/** A layer of an image. */
export interface LayerToImport {
  /** The layer's digest in the manifest: its ref is named after it. */
  readonly digest: Digest;
  readonly diffId: Digest;
  /** The folder with the unpacked files. */
  readonly files: string;
}

export interface ImageToImport extends ImageDocuments {
  /** As ostree-ext prints it: `docker://host/name:tag`. */
  readonly reference: string;
  readonly layers: readonly LayerToImport[];
  /** Label `ostree.final-diffid`: the last layer that carries ostree objects. */
  readonly finalDiffId?: Digest;
  /** Also protect the commit from bootc's clean-up. */
  readonly pinned: boolean;
}

export interface ImportOptions {
  readonly probe: ProbeResult;
  readonly allowCopy: boolean;
  readonly onWait?: () => void;
  readonly signal?: AbortSignal;
}

/** Files of one folder. */
export interface FilesToRead {
  readonly root: string;
  readonly files: ReadonlyMap<FileNode | SymlinkNode, FileToImport>;
}

export interface ImportResult {
  readonly commit: Checksum;
  readonly account: SharingAccount;
  readonly leftOut: LeftOut;
  readonly layersImported: number;
  readonly layersPresent: number;
  readonly objectsPublished: number;
}
