import { mergeLayers, overlay } from "#image/merge.ts";
import type { DirectoryNode } from "#image/tree.ts";
import { applyPathRules, type LeftOut } from "./path-rules.ts";

/** A layer, as unpacked and by ostree's rules. */
export interface RuledLayer {
  readonly tree: DirectoryNode;
  readonly ruled: DirectoryNode;
  readonly leftOut: LeftOut;
}

/** What the commit of an image shall hold. */
export interface MergedTree {
  readonly tree: DirectoryNode;
  readonly leftOut: LeftOut;
}

/** A plain image: its layers are laid over each other first, then ostree's rules are applied. */
export function mergePlain(layers: readonly RuledLayer[]): MergedTree {
  const merged = mergeLayers(
    layers.map((layer) => layer.tree),
    "as-unpacked",
  );
  return applyPathRules(merged, { ostreeBase: false });
}

/** An image built on an ostree commit, which has those rules behind it already. */
export function mergeOver(base: DirectoryNode, layers: readonly RuledLayer[]): MergedTree {
  const leftOut: LeftOut = { special: [], byRule: new Map() };
  for (const layer of layers) {
    leftOut.special.push(...layer.leftOut.special);
    for (const [top, count] of layer.leftOut.byRule) leftOut.byRule.set(top, (leftOut.byRule.get(top) ?? 0) + count);
  }
  return { tree: layers.reduce((lower, layer) => overlay(lower, layer.ruled, "as-listed"), base), leftOut };
}
