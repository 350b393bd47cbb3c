import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "#base/digest.ts";
import { layerFolder, tarSplitFile } from "./layout.ts";
import { isIncomplete, type StoredLayer } from "./records.ts";

export interface LayerRecord {
  readonly id: string;
  /** Undefined for a base layer. */
  readonly parent: string | undefined;
  /** The diff ID. Undefined where podman knows the layer by its table of contents only, and for a container's own layer. */
  readonly diffDigest: Digest | undefined;
  /** Bytes of the layer's tar. */
  readonly diffSize: number | undefined;
  /** Of the blob as it came from the registry; not recorded for partial pulls. */
  readonly compressedDigest: Digest | undefined;
  readonly compressedSize: number | undefined;
  /** Set for layers pulled in part (zstd:chunked). */
  readonly tocDigest: Digest | undefined;
  readonly flags: Readonly<Record<string, unknown>>;
  /** Half made or half removed: the next podman that opens the store for writing deletes it. */
  readonly incomplete: boolean;
  /** The graph root that it is in: not always the image's (podman borrows layers of additional stores). */
  readonly root: string;
  readonly diffPath: string;
  /** Not there for layers that were not made from a tar. */
  readonly tarSplitPath: string;
}

export function layerRecord(stored: StoredLayer, root: string): LayerRecord {
  return {
    id: stored.id,
    parent: stored.parent === "" ? undefined : stored.parent,
    diffDigest: stored["diff-digest"],
    diffSize: stored["diff-size"],
    compressedDigest: stored["compressed-diff-digest"],
    compressedSize: stored["compressed-size"],
    tocDigest: stored["toc-digest"],
    flags: stored.flags ?? {},
    incomplete: isIncomplete(stored),
    root,
    diffPath: join(layerFolder(root, stored.id), "diff"),
    tarSplitPath: tarSplitFile(root, stored.id),
  };
}

/**
 * `composefs`: podman 5's use_composefs keeps content by digest (`diff/ab/cdef…`) and the tree in an EROFS
 * blob, so that files cannot be found by their names in the tar.
 */
export function layerForm(layer: LayerRecord): "tree" | "composefs" {
  return existsSync(join(layerFolder(layer.root, layer.id), "composefs-data")) ? "composefs" : "tree";
}

export function hasTarSplit(layer: LayerRecord): boolean {
  return tarSplitSize(layer) > 0;
}

/** Bytes of the layer's tar-split file, which grow with the number of its files; 0 where there is none. */
export function tarSplitSize(layer: LayerRecord): number {
  return statSync(layer.tarSplitPath, { throwIfNoEntry: false })?.size ?? 0;
}
