import fs from "node:fs";
import { bytesOf } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { mergeLayers } from "#image/merge.ts";
import { OstreeLabeller } from "#image/selinux-labels.ts";
import { ostreePolicy, type ReadFile, type SelinuxPolicy } from "#image/selinux-policy.ts";
import { type DirectoryNode, type FileNode, pathOf } from "#image/tree.ts";
import { readBeneath } from "#linux/beneath.ts";

/**
 * The labels of an image. They are part of its files' objects, so its policy must be known before files are read; but
 * it is known only when all layers are. Hence it is guessed first.
 */
export class ImageLabels {
  readonly #read: ReadFile;
  readonly #labeller = new OstreeLabeller();
  #policy: SelinuxPolicy | undefined;
  #state: "nothing-to-see" | "guessed" | "decided" = "nothing-to-see";

  /** `folderOf`: where a file's content is. */
  constructor(folderOf: (file: FileNode) => string) {
    this.#read = (file) => readBeneath(folderOf(file), bytesOf(pathOf(file)), file.size);
  }

  /** The identity of the policy, where there is one. */
  get policy(): string | undefined {
    return this.#policy?.identity;
  }

  /** Whether commits can be written: no layer shows a policy, or all layers have been seen. */
  get areFinal(): boolean {
    return this.#state !== "guessed";
  }

  /** `trees`: of the layers that seem to have something of the policy, base first. */
  guess(trees: readonly DirectoryNode[]): void {
    if (trees.length === 0) return;
    this.#state = "guessed";
    this.#withoutFailure(() => this.#choose(mergeLayers(trees, "as-unpacked")));
  }

  /** By ostree's rules, the merged tree; `undefined` where nothing is to be labelled. @throws OneholdError where its policy can't be used */
  decide(tree: DirectoryNode | undefined): void {
    this.#state = "decided";
    if (tree === undefined) this.#policy = undefined;
    else this.#choose(tree);
  }

  /** The tree with its labels, as far as they are known. @throws OneholdError where the policy can't be used for it, once it is decided */
  label(tree: DirectoryNode): DirectoryNode {
    let labelled = tree;
    const label = () => {
      if (this.#policy !== undefined) labelled = this.#labeller.relabel(tree, this.#policy);
    };
    if (this.#state === "decided") label();
    else this.#withoutFailure(label);
    return labelled;
  }

  #choose(tree: DirectoryNode): void {
    const policy = ostreePolicy(tree, this.#read);
    if ("none" in policy) this.#policy = undefined;
    else if (policy.identity !== this.#policy?.identity) this.#policy = policy;
  }

  /** A guess that fails may be a wrong one: whether the image's policy can be used is known when it is decided. */
  #withoutFailure(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof OneholdError)) throw error;
      this.#policy = undefined;
    }
  }
}

/** What of an SELinux policy a layer's files have, where images have one: its `config`, or something else (a whiteout, say). */
export function sightOfPolicy(files: string): "config" | "something" | undefined {
  const sights = ["etc", "usr/etc"].map((etc) => {
    let folder = files;
    for (const name of etc.split("/")) {
      folder += `/${name}`;
      if (statOf(folder)?.isDirectory() !== true) return undefined;
    }
    const there = statOf(`${folder}/selinux`);
    if (there?.isDirectory() === true) return statOf(`${folder}/selinux/config`) === undefined ? "something" : "config";
    // A link may lead to all of it.
    return there?.isSymbolicLink() === true ? "config" : there && "something";
  });
  return sights.includes("config") ? "config" : sights.find((sight) => sight !== undefined);
}

function statOf(path: string): fs.Stats | undefined {
  return fs.lstatSync(path, { throwIfNoEntry: false });
}
