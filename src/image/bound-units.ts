import { displayBytes, joinBytes } from "#base/bytes.ts";
import { BoundImageError, boundImagesFolder, type BoundUnits, maxUnitSize } from "./bound-images.ts";
import { followPath } from "./selinux-lookup.ts";
import type { ReadFile } from "./selinux-policy.ts";
import type { DirectoryNode } from "./tree.ts";

/** The bound images of an image that is not deployed yet, in its merged tree. */
export function boundUnitsOfTree(root: DirectoryNode, read: ReadFile): BoundUnits {
  const folder = followPath(root, boundImagesFolder);
  const entries = folder?.kind === "directory" ? folder.children : undefined;
  return {
    entries: () => entries && [...entries].map(([name, node]) => ({ name, isSymlink: node.kind === "symlink" })),
    read(name) {
      const unit = followPath(root, joinBytes(boundImagesFolder, name));
      if (unit === undefined) {
        const link = entries?.get(name);
        const target = link?.kind === "symlink" ? ` to ${displayBytes(link.target)}` : "";
        throw new BoundImageError("dangling", name, `leads${target}, where the image has nothing`);
      }
      if (unit.kind !== "file")
        throw new BoundImageError("not-a-file", name, "leads to something that is no regular file");
      if (unit.size > maxUnitSize) throw new BoundImageError("broken-unit", name, "leads to a file that is too large");
      return read(unit);
    },
  };
}
