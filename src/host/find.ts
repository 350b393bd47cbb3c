import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseReference, storedName } from "#image/reference.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { listImages, openImageStore } from "#stores/containers-storage/store.ts";
import { type ComposefsImage, listComposefsImages } from "#stores/composefs/images.ts";
import { openRepository as openComposefs, repositoryExists as composefsExists } from "#stores/composefs/repository.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { openRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

/** One image of the host, as each store has it. */
export interface FoundImage {
  readonly digest: Digest;
  /** Of all its manifests: the image store has an image once, however often it was packed anew. */
  readonly digests: readonly Digest[];
  /** The name that found it; undefined where a digest or an ID did. */
  readonly name: string | undefined;
  readonly stored: ImageRecord | undefined;
  /** With that digest. */
  readonly projected: OstreeImage | undefined;
  readonly inComposefs: ComposefsImage | undefined;
}

/**
 * Finds an image by a name, by its manifest digest, or by its ID, which is the digest of its config (both whole,
 * or 12 digits and more). Error: `not-found`.
 */
export function findHostImage(sysroot: Sysroot, text: string): FoundImage {
  const stored = imageStoreExists(sysroot) ? listImages(openImageStore(sysroot.imageStore)) : [];
  const projected = repositoryExists(sysroot.ostreeRepo) ? listOstreeImages(openRepository(sysroot.ostreeRepo)) : [];
  const composefs = composefsExists(sysroot.composefs) ? listComposefsImages(openComposefs(sysroot.composefs)) : [];
  const byDigits = isDigest(text) ? hexPart(text) : /^(?:sha256:)?([0-9a-f]{12,64})$/.exec(text)?.[1];
  const digest = byDigits === undefined ? undefined : digestOf(text, byDigits, stored, [...projected, ...composefs]);
  const name = byDigits === undefined ? nameOf(text) : undefined;
  const inStore = stored.find((image) =>
    name === undefined ? image.digests.some((each) => each === digest) : image.names.includes(name),
  );
  const wanted = inStore?.digest ?? digest;
  const inOstree = projected.find((image) =>
    wanted === undefined
      ? name !== undefined && image.references.some((reference) => isNamed(reference, name))
      : image.manifestDigest === wanted,
  );
  const inComposefs = composefs.find((image) =>
    wanted === undefined
      ? name !== undefined && image.tags.some((tag) => isNamed(tag, name))
      : image.manifestDigest === wanted,
  );
  const found = wanted ?? inOstree?.manifestDigest ?? inComposefs?.manifestDigest;
  if (found === undefined || (inStore ?? inOstree ?? inComposefs) === undefined) {
    throw new OneholdError("not-found", `no image ${text} on this host`, {
      subject: text,
      hint: "`onehold image list` shows what is there.",
    });
  }
  const digests = [...new Set([found, ...(inStore?.digests ?? [])])];
  return { digest: found, digests, name, stored: inStore, projected: inOstree, inComposefs };
}

/** Whether a reference of ostree's, which says where the image came from, stands for that name in the image store. */
export function isNamed(reference: string, name: string): boolean {
  try {
    return storedName(parseReference(reference)) === name;
  } catch {
    return false; // Of a transport that is not ours.
  }
}

function nameOf(text: string): string {
  return storedName(parseReference(text));
}

/** The manifest digest of the image that the digits are of, or the start of; `undefined` where there is none. */
function digestOf(
  text: string,
  digits: string,
  stored: readonly ImageRecord[],
  projected: readonly { readonly manifestDigest: Digest }[],
): Digest | undefined {
  const startsSo = (digest: string) => hexPart(digest).startsWith(digits);
  const matches = new Set([
    ...stored.filter(({ id, digests }) => [id, ...digests].some(startsSo)).map(({ digest }) => digest),
    ...projected.filter(({ manifestDigest }) => startsSo(manifestDigest)).map(({ manifestDigest }) => manifestDigest),
  ]);
  // An image that was packed anew has one record in the image store, and a projection for each manifest.
  const images = new Set(
    [...matches].map((digest) => stored.find(({ digests }) => digests.includes(digest)) ?? digest),
  );
  if (images.size > 1) {
    throw new OneholdError("usage", `${text} is the start of ${images.size} digests`, {
      hint: "Give more of its digits.",
    });
  }
  return [...matches][0];
}

function hexPart(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1);
}
