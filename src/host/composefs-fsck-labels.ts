import { displayBytes } from "#base/bytes.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseConfig } from "#formats/oci.ts";
import type { FileMetadata } from "#formats/ostree-objects.ts";
import { type FileContent, layerStreamEntries } from "#formats/splitstream-layer.ts";
import { noXattrs } from "#formats/xattrs.ts";
import { isHostImage } from "#image/host-image.ts";
import { LayerTreeBuilder } from "#image/layer-tree.ts";
import { mergeLayers } from "#image/merge.ts";
import { labelDifferences } from "#image/selinux-labels.ts";
import { composefsPolicy, ostreePolicy, type ReadFile } from "#image/selinux-policy.ts";
import type { DirectoryNode, FileNode } from "#image/tree.ts";
import { listComposefsImages } from "#stores/composefs/images.ts";
import { readObject } from "#stores/composefs/objects.ts";
import { readImage, type StoredImage } from "#stores/composefs/oci-images.ts";
import type { Repository } from "#stores/composefs/repository.ts";
import { readStream } from "#stores/composefs/streams.ts";

/** A host image whose files have other labels where composefs-rs makes them than where libostree does. */
export interface ComparedLabels {
  readonly image: Digest;
  readonly tags: readonly string[];
  /** How many files differ. */
  readonly files: number;
  /** The first of them; null where there is no label. */
  readonly examples: readonly {
    readonly path: string;
    readonly libselinux: string | null;
    readonly composefs: string | null;
  }[];
}

const maxExamples = 10;

/**
 * Looks at every host image of a repository: libselinux and composefs-rs do not read a policy in quite the same way.
 * Images on which they agree, and those without a policy, are left out. `onFailure` is told which image can't be read.
 */
export async function compareLabels(
  repository: Repository,
  onFailure: (image: string, error: unknown) => void,
): Promise<ComparedLabels[]> {
  const found: ComparedLabels[] = [];
  for (const { manifestDigest, tags } of listComposefsImages(repository)) {
    try {
      const image = await readImage(repository, manifestDigest);
      if (image === undefined || !boots(image)) continue;
      const differences = await differencesOf(repository, image);
      if (differences.files > 0) found.push({ image: manifestDigest, tags, ...differences });
    } catch (error) {
      onFailure(tags[0] ?? manifestDigest, error);
    }
  }
  return found;
}

/** What was pulled with --host has no label that tells. */
function boots(image: StoredImage): boolean {
  return (
    isHostImage(parseConfig(image.config).labels) || image.erofs.keys().some((name) => name.startsWith(bootPrefix))
  );
}

const bootPrefix = "composefs.image.boot";

async function differencesOf(
  repository: Repository,
  image: StoredImage,
): Promise<Pick<ComparedLabels, "files" | "examples">> {
  const { tree, read } = await treeOf(repository, image);
  const [composefs, libselinux] = [composefsPolicy(tree, read), ostreePolicy(tree, read)];
  const examples: ComparedLabels["examples"][number][] = [];
  let files = 0;
  // Where one of them sees no policy at all, there is nothing that it would read differently.
  if ("none" in composefs || "none" in libselinux) return { files, examples };
  const contexts = { composefs: composefs.contexts, libselinux: libselinux.contexts };
  for (const difference of labelDifferences(tree, contexts)) {
    files++;
    if (examples.length === maxExamples) continue;
    const [ours, theirs] = [difference.composefs, difference.libselinux];
    examples.push({
      path: displayBytes(difference.path),
      libselinux: theirs === undefined ? null : displayBytes(theirs),
      composefs: ours === undefined ? null : displayBytes(ours),
    });
  }
  return { files, examples };
}

/** The merged tree, from the streams of its layers. Owners and modes of directories that no layer lists are of no matter. */
async function treeOf(
  repository: Repository,
  { layers }: StoredImage,
): Promise<{ tree: DirectoryNode; read: ReadFile }> {
  const contents = new Map<FileNode, FileContent>();
  const trees: DirectoryNode[] = [];
  for (const [index, { stream }] of layers.entries()) {
    const builder = new LayerTreeBuilder(index);
    for await (const batch of layerStreamEntries(readStream(repository, stream))) {
      for (const { entry, content } of batch) {
        const file = builder.add(entry);
        if (file !== undefined && content !== undefined) contents.set(file, content);
      }
    }
    trees.push(builder.finish(() => unlisted));
  }
  const read: ReadFile = (file) => {
    const content = contents.get(file);
    if (content === undefined) return Buffer.alloc(0);
    if (content.kind === "inline") return Buffer.from(content.bytes);
    const bytes = readObject(repository, content.id, file.size);
    if (bytes !== undefined) return bytes;
    throw new OneholdError("corrupt", `the object ${content.id} of its policy is missing`);
  };
  return { tree: mergeLayers(trees, "as-listed"), read };
}

const unlisted: FileMetadata = { uid: 0, gid: 0, mode: 0o040755, xattrs: noXattrs };
