import { constants } from "node:fs";
import { relative } from "node:path";
import { OneholdError } from "#base/errors.ts";
import { openBeneath } from "#linux/beneath.ts";
import { type Descriptor, openDirectory } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import type { LayerRecord } from "./layers.ts";

/**
 * Opens the folder with a layer's files, which must be one of the store's own: a symlink in its place would pass the
 * host's files off as the image's. @throws corrupt; system where it is gone
 */
export function openDiff(layer: LayerRecord): Descriptor {
  using root = openDirectory(layer.root);
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  try {
    return openBeneath(root.fd, relative(layer.root, layer.diffPath), flags);
  } catch (error) {
    if (!isErrno(error, "ELOOP", "EXDEV", "ENOTDIR")) throw error;
    throw new OneholdError("corrupt", `${layer.diffPath} is not a folder of the image store`, {
      subject: layer.diffPath,
      cause: error,
      hint: "Somebody has changed the image store: remove the image and pull it again.",
    });
  }
}
