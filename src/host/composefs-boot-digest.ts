import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { writeDump } from "#formats/composefs-dump-writer.ts";
import type { ImageFormat } from "#formats/composefs-meta.ts";
import type { ComposefsDirectory } from "#formats/composefs-tree.ts";
import { writeErofs } from "#formats/erofs-writer.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { withComposefsLabels } from "#image/selinux-labels.ts";
import { composefsPolicy } from "#image/selinux-policy.ts";
import { applyBootRules, applyImageRules } from "#stores/composefs/image-rules.ts";
import { composefsTree } from "#stores/composefs/image-tree.ts";
import { demandOutputFile, writeOutputFile } from "./output-file.ts";
import { demandOtherRoot, readFileOf, scanDirectory } from "./root-directory.ts";
import { readContents, type ReadingContext } from "./root-directory-contents.ts";

/** Of which image the digest is wanted. */
export interface BootDigestRequest {
  /** The root file system of the container image. */
  readonly root: string;
  readonly format: ImageFormat;
  readonly algorithm: VerityAlgorithm;
  /** False: /run, xattrs and what the root directory has stay as they are. */
  readonly propagateUsrToRoot: boolean;
  /** Where a dump file of the image goes. */
  readonly dumpFile: string | undefined;
}

/**
 * The fs-verity digest of the composefs image that a repository has of a container image to boot it, computed from the
 * image's root file system. Errors: "usage" for the root of the running system, "not-found", "unsupported" for a tree
 * that can't boot so.
 */
export async function computeBootDigest(request: BootDigestRequest, context: ReadingContext): Promise<string> {
  const { format, algorithm, dumpFile } = request;
  if (dumpFile !== undefined) demandOutputFile(dumpFile);
  const tree = await bootTree(request, context);
  if (dumpFile !== undefined) writeOutputFile(dumpFile, writeDump(tree));
  return verityDigest(algorithm, writeErofs(tree, { format })).toString("hex");
}

/** The rules are those of an import (see stores/composefs/import.ts), in its order; only what is left is read. */
async function bootTree(
  { root: named, algorithm, propagateUsrToRoot }: BootDigestRequest,
  context: ReadingContext,
): Promise<ComposefsDirectory> {
  const root = demandOtherRoot(named);
  const scanned = scanDirectory(root, "kept");
  const tree = propagateUsrToRoot ? applyImageRules(scanned) : scanned;
  const policy = composefsPolicy(tree, (file) => readFileOf(root, file));
  const boots = withComposefsLabels(applyBootRules(tree), "none" in policy ? undefined : policy);
  return composefsTree(boots, await readContents(root, boots, algorithm, context));
}
