import type { Digest } from "#base/digest.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import type { DirectoryNode, FileNode, SymlinkNode } from "#image/tree.ts";
import type { CommitWriter } from "./commits.ts";
import type { ImageLabels } from "./image-labels.ts";
import {
  adoptLayer,
  type Adoption,
  type FinishedLayer,
  type KnownObjects,
  type LabelledLayer,
  labelledFiles,
  type LayerObjects,
} from "./labelled-layers.ts";
import type { RuledLayer } from "./merging.ts";
import { applyPathRules, type LeftOut } from "./path-rules.ts";
import type { ObjectsOfNodes } from "./trees.ts";
import { withWhiteoutFiles } from "./whiteout-files.ts";

/** What an earlier import left of a layer. */
export interface EarlierLayer {
  /** That the repository has of the layer, whole. */
  readonly commit: Checksum | undefined;
  readonly remembered: LayerObjects | undefined;
}

/** A layer that does not carry objects of its own. */
export class PlainLayer implements RuledLayer, LabelledLayer {
  readonly digest: Digest;
  readonly tree: DirectoryNode;
  readonly ruled: DirectoryNode;
  readonly leftOut: LeftOut;
  readonly plain: DirectoryNode;
  labelled: DirectoryNode;
  policy: string | undefined;
  /** Its commit, once its labels are final and all its files are objects. */
  finished: Checksum | undefined;
  readonly #earlier: EarlierLayer;
  #adoption: Adoption | undefined;

  /** @throws OneholdError "not-utf8" */
  constructor(digest: Digest, tree: DirectoryNode, earlier: EarlierLayer, options: { ostreeBase: boolean }) {
    const { tree: ruled, leftOut } = applyPathRules(tree, options);
    this.digest = digest;
    this.tree = tree;
    this.ruled = ruled;
    this.leftOut = leftOut;
    this.plain = this.labelled = withWhiteoutFiles(ruled);
    this.#earlier = earlier;
  }

  /** Gives it its labels, and notes in `objects` which of its files the repository has with them. */
  label(labels: ImageLabels, known: KnownObjects, objects: ObjectsOfNodes): void {
    this.labelled = labels.label(this.plain);
    this.policy = labels.policy;
    this.finished = undefined;
    const { commit, remembered } = this.#earlier;
    this.#adoption = commit && adoptLayer(known, commit, this, remembered, objects);
  }

  /** The commit that the repository has of it, where that has these labels, whoever made it. */
  earlierCommit(known: Pick<KnownObjects, "read">, commits: CommitWriter): Checksum | undefined {
    const { commit, remembered } = this.#earlier;
    if (commit === undefined || this.#adoption === "remembered") return commit;
    if (this.#adoption !== "same") return undefined;
    if (this.policy === undefined && remembered?.commit !== commit) return commit;
    // Its directories have labels too.
    const bytes = known.read(commit, "commit");
    const root = commits.root(this.labelled);
    const there = bytes && parseCommit(bytes);
    return there?.tree === root.tree && there.treeMetadata === root.metadata ? commit : undefined;
  }

  /** What to remember of it once it is finished; nothing where that is what was remembered. */
  toRemember(objects: ObjectsOfNodes): FinishedLayer | undefined {
    const { finished: commit, policy } = this;
    const { remembered } = this.#earlier;
    if (commit === undefined || (remembered?.commit === commit && remembered.policy === policy)) return undefined;
    if (this.plain === this.labelled) return { commit, policy, objectOf: (node) => objects.get(node) };
    const found = new Map<FileNode | SymlinkNode, Checksum>();
    for (const [node, labelled] of labelledFiles(this)) {
      const checksum = objects.get(labelled);
      if (checksum !== undefined && !found.has(node)) found.set(node, checksum);
    }
    return { commit, policy, objectOf: (node) => found.get(node) };
  }
}
