import { constants, fstatSync, type Stats } from "node:fs";
import type { ByteString } from "#base/bytes.ts";
import { bytesOf } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { openInRoot } from "#linux/beneath.ts";
import { type Descriptor, O_PATH } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { entryPath } from "./entry-path.ts";
import { type LayerRecord, layerForm } from "./layers.ts";
import { openDiff } from "./open-diff.ts";

/** A regular file of a layer, open for reading. */
export interface LayerFile extends Descriptor {
  readonly stats: Stats;
  /** Whose diff it was found in: the layer's own, or an ancestor's. */
  readonly layer: LayerRecord;
}

/** Access to the files of one layer by the names in its tar. */
export interface LayerContents extends Disposable {
  /**
   * The content of a member of the tar: in the layer's own diff, or else in the nearest ancestor that has
   * it, as podman looks it up. Undefined where none has a regular file of that name.
   * @throws corrupt for a name that leaves the layer
   */
  openFile(name: ByteString): LayerFile | undefined;
  /** What the layer's own diff has at an entry path ("" is its root), as an O_PATH descriptor: a link is not followed. */
  openEntry(path: ByteString): Descriptor | undefined;
  /** The diff's root. */
  readonly root: Descriptor;
}

/**
 * Nothing in a diff is trusted: the diff's root is the root of every path, as it was when podman unpacked the layer, so
 * that a link in the image leads to where it led then and never to the host's files; and nothing but a regular file is ever opened for reading.
 * @param chain the layers of an image, base first, with this one among them
 * @throws unsupported for a composefs layer, system where the diff is gone
 */
export function openLayerContents(layer: LayerRecord, chain: readonly LayerRecord[]): LayerContents {
  if (layerForm(layer) === "composefs") {
    throw new OneholdError("unsupported", `layer ${layer.id} is stored as a composefs image, not as a tree of files`, {
      subject: layer.id,
      hint: "Pull the image again with podman's option use_composefs off.",
    });
  }
  const open = new DisposableStack();
  try {
    const root = open.use(openDiff(layer));
    const sources: { layer: LayerRecord; root: Descriptor | undefined }[] = [
      { layer, root },
      ...ancestors(layer, chain).map((each) => ({ layer: each, root: undefined })),
    ];
    const openFile = (name: ByteString): LayerFile | undefined => {
      const path = entryPath(name);
      for (const source of sources) {
        // Most layers never need an ancestor: it is opened when first asked.
        source.root ??= open.use(openDiff(source.layer));
        const file = openRegular(source.root, path, source.layer);
        if (file !== undefined) return file;
      }
      return undefined;
    };
    return { root, openFile, openEntry: (path) => openPath(root, path), [Symbol.dispose]: () => open.dispose() };
  } catch (error) {
    open.dispose();
    throw error;
  }
}

/** Nearest first. */
function ancestors(layer: LayerRecord, chain: readonly LayerRecord[]): LayerRecord[] {
  const index = chain.findIndex(({ id }) => id === layer.id);
  return chain.slice(0, Math.max(0, index)).toReversed();
}

// O_NONBLOCK: a FIFO in the place of the file must not hang us.
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

function openRegular(root: Descriptor, path: ByteString, layer: LayerRecord): LayerFile | undefined {
  if (path === "") return undefined;
  const file = ifThere(() => openInRoot(root.fd, bytesOf(path), readFlags));
  if (file === undefined) return undefined;
  const stats = fstatSync(file.fd);
  if (!stats.isFile()) {
    file[Symbol.dispose]();
    return undefined;
  }
  return {
    get fd() {
      return file.fd;
    },
    stats,
    layer,
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

function openPath(root: Descriptor, path: ByteString): Descriptor | undefined {
  return ifThere(() => openInRoot(root.fd, path === "" ? "." : bytesOf(path), O_PATH | constants.O_NOFOLLOW));
}

/** ENXIO: a whiteout or a socket; ELOOP: a link. None is the file that is looked for. */
function ifThere(open: () => Descriptor): Descriptor | undefined {
  try {
    return open();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ENXIO", "ELOOP")) return undefined;
    throw error;
  }
}
