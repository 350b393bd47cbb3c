import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type Digest, hexOf } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { type Checksum, isChecksum } from "#formats/ostree-objects.ts";
import { parseLayerIndex, type ReadStoreNames, serializeLayerIndex } from "#image/layer-index.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import { isErrno } from "#linux/system-error.ts";
import { listLayers, openImageStore } from "#stores/containers-storage/store.ts";
import type { FinishedLayer, LayerObjects } from "#stores/ostree/labelled-layers.ts";
import { imageStoreExists, type Sysroot } from "../sysroot.ts";

/** What an earlier import found in a layer. */
export interface RememberedLayer {
  readonly tree: DirectoryNode;
  readonly ostree: LayerObjects | undefined;
}

/** What an import has found. */
export interface LayerToRemember {
  readonly tree: DirectoryNode;
  readonly ostree: FinishedLayer;
}

/** Then the commit, and the identity of the policy if one labelled the objects. */
const ostreeStore = "ostree";

/** `undefined` where nothing is remembered, or it can't be read: then the layer itself tells. `layer`: as in the tree's nodes. */
export function recallLayer(sysroot: Sysroot, diffId: Digest, layer: number): RememberedLayer | undefined {
  try {
    const { tree, names } = parseLayerIndex(fs.readFileSync(fileOf(sysroot, diffId)), layer);
    return { tree, ostree: names.map(objectsOf).find((objects) => objects !== undefined) };
  } catch (error) {
    if (isErrno(error, "ENOENT") || (error instanceof OneholdError && error.code === "corrupt")) return undefined;
    throw error;
  }
}

/** Not synced: what a power cut takes away is found to be damaged, and made anew. */
export function rememberLayer(sysroot: Sysroot, diffId: Digest, { tree, ostree }: LayerToRemember): void {
  const { commit, policy, objectOf } = ostree;
  const store = [ostreeStore, commit, ...(policy === undefined ? [] : [policy])].join(" ");
  const names = [{ store, length: 32, of: objectOf }];
  const file = fileOf(sysroot, diffId);
  const temporary = `${file}.${randomBytes(4).toString("hex")}`;
  const fd = fs.openSync(temporary, "wx", 0o600);
  try {
    serializeLayerIndex({ tree, names }, (piece) => {
      for (let done = 0; done < piece.length; ) done += fs.writeSync(fd, piece, done);
    });
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, file);
}

/** Forgets the layers that the image store has no more, and what a killed run left half written. */
export function forgetLayers(sysroot: Sysroot): void {
  const layers = imageStoreExists(sysroot) ? listLayers(openImageStore(sysroot.imageStore)) : [];
  const files = new Set(layers.flatMap(({ diffDigest }) => (diffDigest === undefined ? [] : [hexOf(diffDigest)])));
  for (const name of fs.readdirSync(sysroot.state.layers)) {
    if (!files.has(name)) fs.unlinkSync(path.join(sysroot.state.layers, name));
  }
}

function objectsOf({ store, of }: ReadStoreNames): LayerObjects | undefined {
  const [kind, commit = "", policy] = store.split(" ");
  if (kind !== ostreeStore || !isChecksum(commit)) return undefined;
  const objects = new Map<FileNode | SymlinkNode, Checksum>();
  for (const [node, name] of of) if (isChecksum(name)) objects.set(node, name);
  return { commit, policy, objects };
}

function fileOf(sysroot: Sysroot, diffId: Digest): string {
  return path.join(sysroot.state.layers, hexOf(diffId));
}
