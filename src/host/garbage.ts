import { type Digest, hexOf } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { planGarbageRemoval, type RemovalPlan } from "#stores/containers-storage/removal-plan.ts";
import { storedRecords } from "#stores/containers-storage/stored-records.ts";
import { findUnreachable as findInComposefs, type Unreachable } from "#stores/composefs/sweep.ts";
import { imageDigestOf, unneededLayerRefs } from "#stores/ostree/images.ts";
import { deploymentRef, isOfImage, isOwnRef, listRefs, pinRef } from "#stores/ostree/refs.ts";
import type { Repository } from "#stores/ostree/repository.ts";
import { type DeadObject, findUnreachable as findInOstree } from "#stores/ostree/unreachable.ts";
import { isNamed } from "./find.ts";
import type { Inventory } from "./inventory.ts";
import { listPins } from "./pins.ts";
import { readNote } from "./records.ts";
import { findUnprotected, type Unprotected } from "./protect.ts";
import { isPinTag, isReferenceTag, type RootSet } from "./root-set.ts";
import type { Sysroot } from "./sysroot.ts";

/** What goes, by store. All of it follows from what the stores hold now: a killed sweep is finished by the next one. */
export interface Garbage {
  /** Ids; an image that a container was made from is in `deferred` instead. */
  readonly imageStore: RemovalPlan & { readonly digests: readonly Digest[] };
  readonly ostree: {
    readonly refs: readonly string[];
    readonly objects: readonly DeadObject[];
    readonly digests: readonly Digest[];
  };
  readonly composefs: Unreachable & { readonly tags: readonly string[] };
  readonly unprotected: Unprotected;
  readonly deferred: readonly DeferredImage[];
}

/** What would go, if no container of the image store's own needed it. */
export interface DeferredImage {
  readonly digest: Digest;
  readonly container: string;
}

/** Takes no lock and writes nothing. @throws OneholdError where a store can't be read so far that it is certain what must stay */
export function findGarbage(sysroot: Sysroot, inventory: Inventory, roots: RootSet): Garbage {
  const records = inventory.imageStore && storedRecords(inventory.imageStore);
  const containers = new Map(
    (records?.containers ?? []).flatMap(({ id, image, names }) =>
      image === undefined ? [] : [[image, names[0] ?? id] as const],
    ),
  );
  const unwanted = imagesOf(sysroot, inventory).filter((image) => !stays(image, roots));
  const deferred = unwanted.flatMap(({ id, digests: [digest] }) => {
    const container = containers.get(id ?? "");
    return container === undefined || digest === undefined ? [] : [{ digest, container }];
  });
  const going = unwanted.filter(({ id }) => !containers.has(id ?? ""));
  const digests = new Set(going.flatMap((image) => image.digests));
  const known = new Set(inventory.stored.map(({ image }) => image.id));
  const broken = (records?.images ?? []).filter(
    ({ id, names, digest }) => !known.has(id) && names.length === 0 && !(digest && roots.reasons.has(digest)),
  );
  const ids = new Set([...going.flatMap(({ id }) => id ?? []), ...broken.map(({ id }) => id)]);
  const refs = refsToDrop(sysroot, inventory, roots, digests);
  const tags = tagsToDrop(inventory, roots, digests);
  const unprotected = findUnprotected(inventory, roots, new Set([...refs, ...tags]));
  return {
    imageStore: {
      ...(records === undefined ? { images: [], layers: [] } : planGarbageRemoval(records, ids, roots.borrowedLayers)),
      digests: going.flatMap(({ id, digests: [digest] }) => (id === undefined || digest === undefined ? [] : [digest])),
    },
    ostree: inOstree(inventory, new Set(refs), unprotected),
    composefs: inComposefs(inventory, tags, unprotected),
    unprotected,
    deferred,
  };
}

/** One image, whichever stores hold it. */
interface Image {
  /** In the image store. */
  readonly id: string | undefined;
  /** Of its manifests: the image store has an image once, however often it was packed anew. Never empty. */
  readonly digests: readonly Digest[];
  /** What it is called now: a name that stands for another image in the image store is no longer its own. */
  readonly names: readonly string[];
  /** Onehold brought it for a deployment, and no user asked for it. */
  readonly boundOnly: boolean;
}

function imagesOf(sysroot: Sysroot, { stored, inOstree: projected, inComposefs: tagged }: Inventory): Image[] {
  const references = [
    ...projected.map((image) => ({ digest: image.manifestDigest, names: image.references })),
    ...tagged.map((image) => ({ digest: image.manifestDigest, names: image.tags.filter(isReferenceTag) })),
  ];
  const describe = (id: string | undefined, digests: readonly Digest[], names: readonly string[]): Image => {
    const others = stored.filter(({ image }) => image.id !== id).flatMap(({ image }) => image.names);
    const own = references
      .filter(({ digest }) => digests.includes(digest))
      .flatMap((each) => each.names)
      .filter((reference) => !others.some((name) => isNamed(reference, name)));
    const boundOnly = digests.some((digest) => readNote(sysroot, digest)?.bound === true);
    return { id, digests, names: [...names, ...own], boundOnly };
  };
  const inStore = new Set(stored.flatMap(({ image }) => image.digests));
  const elsewhere = new Set(references.map(({ digest }) => digest).filter((digest) => !inStore.has(digest)));
  return [
    ...stored.map(({ image }) => describe(image.id, [...new Set([image.digest, ...image.digests])], image.names)),
    ...[...elsewhere].map((digest) => describe(undefined, [digest], [])),
  ];
}

/** A name keeps an image, unless nobody but a deployment that is gone has asked for it. */
function stays({ digests, names, boundOnly }: Image, { reasons }: RootSet): boolean {
  return digests.some((digest) => reasons.has(digest)) || (names.length > 0 && !boundOnly);
}

function refsToDrop(
  sysroot: Sysroot,
  { ostree, inOstree: images }: Inventory,
  { deployed }: RootSet,
  digests: ReadonlySet<Digest>,
): string[] {
  if (ostree === undefined) return [];
  const ours = new Set([
    ...listPins(sysroot).map(({ digest }) => pinRef(digest)),
    ...[...deployed].map((commit) => deploymentRef(commit)),
  ]);
  return [
    ...images.flatMap((image) => (digests.has(image.manifestDigest) ? image.refs.filter(isOfImage) : [])),
    ...[...listRefs(ostree).keys()].filter((ref) => isOwnRef(ref) && !ours.has(ref)),
  ];
}

function tagsToDrop({ inComposefs: images }: Inventory, { reasons }: RootSet, digests: ReadonlySet<Digest>): string[] {
  return images.flatMap(({ manifestDigest, tags }) =>
    tags.filter((tag) =>
      isPinTag(tag) ? !reasons.has(manifestDigest) : digests.has(manifestDigest) && isReferenceTag(tag),
    ),
  );
}

function inOstree(
  { ostree: repository }: Inventory,
  dropped: ReadonlySet<string>,
  unprotected: Unprotected,
): Garbage["ostree"] {
  if (repository === undefined) return { refs: [], objects: [], digests: [] };
  const refs = new Set([...dropped, ...unneededLayerRefs(repository, dropped)]);
  const objects = findInOstree(repository, { without: refs, with: unprotected.inOstree });
  const dead = objects.flatMap(({ checksum, type }) =>
    type === "commit" ? (digestOfDead(repository, checksum) ?? []) : [],
  );
  return { refs: [...refs], objects, digests: [...new Set(dead)] };
}

/** Whatever is damaged in it: it goes. */
function digestOfDead(repository: Repository, commit: Checksum): Digest | undefined {
  try {
    return imageDigestOf(repository, commit);
  } catch (error) {
    if (error instanceof OneholdError) return undefined;
    throw error;
  }
}

function inComposefs(
  { composefs: repository }: Inventory,
  tags: readonly string[],
  unprotected: Unprotected,
): Garbage["composefs"] {
  if (repository === undefined) return { tags, objects: [], links: [], images: [] };
  return { tags, ...findInComposefs(repository, { without: tags, with: unprotected.inComposefs }) };
}

/** Folders of notes on images that no store holds. */
export function isForgotten({ stored, inOstree: projected, inComposefs: tagged }: Inventory, hex: string): boolean {
  const held = [
    ...stored.flatMap(({ image }) => [image.digest, ...image.digests]),
    ...[...projected, ...tagged].map(({ manifestDigest }) => manifestDigest),
  ];
  return !held.some((digest) => hexOf(digest) === hex);
}
