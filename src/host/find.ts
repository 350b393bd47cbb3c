import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseReference, storedName } from "#image/reference.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import { listImages, openImageStore } from "#stores/containers-storage/store.ts";
import { listOstreeImages, type OstreeImage } from "#stores/ostree/images.ts";
import { openRepository, repositoryExists } from "#stores/ostree/repository.ts";
import { imageStoreExists, type Sysroot } from "./sysroot.ts";

/** One image of the host, as each store has it. */
export interface FoundImage {
  readonly digest: Digest;
  /** The name that found it; undefined where a digest did. */
  readonly name: string | undefined;
  readonly stored: ImageRecord | undefined;
  readonly projected: OstreeImage | undefined;
}

/** Finds an image by a name, or by its manifest digest (whole, or 12 digits and more of it). Error: `not-found`. */
export function findHostImage(sysroot: Sysroot, text: string): FoundImage {
  const stored = imageStoreExists(sysroot) ? listImages(openImageStore(sysroot.imageStore)) : [];
  const projected = repositoryExists(sysroot.ostreeRepo) ? listOstreeImages(openRepository(sysroot.ostreeRepo)) : [];
  const digest = digestOf(text, [
    ...stored.map((image) => image.digest),
    ...projected.map((image) => image.manifestDigest),
  ]);
  const name = digest === undefined ? storedName(parseReference(text)) : undefined;
  const inStore = stored.find((image) => (name === undefined ? image.digest === digest : image.names.includes(name)));
  const found = inStore?.digest ?? digest;
  const inOstree = projected.find((image) =>
    found === undefined
      ? image.references.some((reference) => reference === `docker://${name}`)
      : image.manifestDigest === found,
  );
  const result = found ?? inOstree?.manifestDigest;
  if (result === undefined || (inStore === undefined && inOstree === undefined)) {
    throw new OneholdError("not-found", `no image ${text} on this host`, {
      subject: text,
      hint: "`onehold image list` shows what is there.",
    });
  }
  return { digest: result, name, stored: inStore, projected: inOstree };
}

/** The digest that `text` is, or the start of; `undefined` where it is a name. */
function digestOf(text: string, digests: readonly Digest[]): Digest | undefined {
  if (isDigest(text)) return text;
  if (!/^(?:sha256:)?[0-9a-f]{12,63}$/.test(text)) return undefined;
  const prefix = text.startsWith("sha256:") ? text : `sha256:${text}`;
  const matches = new Set(digests.filter((digest) => digest.startsWith(prefix)));
  if (matches.size > 1) {
    throw new OneholdError("usage", `${text} is the start of ${matches.size} digests`, {
      hint: "Give more of its digits.",
    });
  }
  return [...matches][0];
}
