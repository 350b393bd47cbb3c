import { OneholdError } from "#base/errors.ts";
import type { StoredContainer, StoredImage, StoredLayer } from "./records.ts";

/** All records of a store, of which a plan is made without touching the store. */
export interface StoreRecords {
  readonly images: readonly StoredImage[];
  readonly layers: readonly StoredLayer[];
  readonly containers: readonly StoredContainer[];
}

/** What is to go, by id. */
export interface RemovalPlan {
  readonly images: readonly string[];
  /** Children before their parents. */
  readonly layers: readonly string[];
}

/**
 * The images, and those of their layers that nothing else stands on. As in podman, a layer that no image
 * knows (of a pull that was broken off) keeps its parents, and so does a layer of another store: `borrowed` are
 * layers that such stand on.
 * @throws busy where a container was made from one of the images
 */
export function planImageRemoval(
  records: StoreRecords,
  images: ReadonlySet<string>,
  borrowed: ReadonlySet<string> = new Set(),
): RemovalPlan {
  refuseUsedImages(records, images);
  const parents = parentsOf(records.layers);
  const going = records.images.filter(({ id }) => images.has(id));
  const candidates = closure(going.flatMap(topLayers), parents);
  const kept = closure(
    [
      ...referencedTops({ ...records, images: records.images.filter(({ id }) => !images.has(id)) }),
      ...others(records, candidates),
      ...borrowed,
    ],
    parents,
  );
  return {
    images: going.map(({ id }) => id),
    layers: childrenFirst(records.layers, (id) => candidates.has(id) && !kept.has(id)),
  };
}

/**
 * The layers, all that stand on them, and the images that need any of these.
 * @throws busy where a container needs one of them
 */
export function planLayerRemoval(records: StoreRecords, layers: ReadonlySet<string>): RemovalPlan {
  const parents = parentsOf(records.layers);
  const isGoing = (id: string): boolean => intersects(closure([id], parents), layers);
  const images = records.images.filter((image) => topLayers(image).some(isGoing)).map(({ id }) => id);
  refuseUsedImages(records, new Set(images));
  const user = records.containers.find(({ layer }) => layer !== undefined && isGoing(layer));
  if (user !== undefined) throw usedBy(user, `a layer that is to go`);
  return { images, layers: childrenFirst(records.layers, isGoing) };
}

/** Layers that no image and no container stands on: of pulls that were broken off, and what removed images have left. */
export function unreferencedLayerIds(records: StoreRecords): Set<string> {
  const referenced = closure(referencedTops(records), parentsOf(records.layers));
  return new Set(records.layers.map(({ id }) => id).filter((id) => !referenced.has(id)));
}

/** Those of the layers that nothing stands on, and never one that something does. */
export function planSweep(records: StoreRecords, layers: ReadonlySet<string>): RemovalPlan {
  const parents = parentsOf(records.layers);
  const unreferenced = unreferencedLayerIds(records);
  const kept = closure(
    records.layers.map(({ id }) => id).filter((id) => !unreferenced.has(id) || !layers.has(id)),
    parents,
  );
  return { images: [], layers: childrenFirst(records.layers, (id) => !kept.has(id)) };
}

/**
 * The images, but those that a container was made from, and every layer that nothing stands on then. `borrowed`: layers
 * that other stores stand on.
 */
export function planGarbageRemoval(
  records: StoreRecords,
  images: ReadonlySet<string>,
  borrowed: ReadonlySet<string>,
): RemovalPlan {
  const used = new Set(records.containers.flatMap(({ image }) => image ?? []));
  const [going, staying] = partition(records.images, ({ id }) => images.has(id) && !used.has(id));
  const kept = closure([...referencedTops({ ...records, images: staying }), ...borrowed], parentsOf(records.layers));
  return { images: going.map(({ id }) => id), layers: childrenFirst(records.layers, (id) => !kept.has(id)) };
}

function partition<T>(all: readonly T[], isFirst: (each: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((each) => !isFirst(each))];
}

function referencedTops(records: StoreRecords): string[] {
  return [...records.images.flatMap(topLayers), ...records.containers.flatMap(({ layer }) => layer ?? [])];
}

/** An image may have further top layers: the same content with other owners, made for user namespaces. */
function topLayers(image: StoredImage): string[] {
  return [...(image.layer === undefined || image.layer === "" ? [] : [image.layer]), ...image["mapped-layers"]];
}

function others(records: StoreRecords, candidates: ReadonlySet<string>): string[] {
  return records.layers.map(({ id }) => id).filter((id) => !candidates.has(id));
}

function parentsOf(layers: readonly StoredLayer[]): Map<string, string> {
  return new Map(
    layers.flatMap(({ id, parent }) => (parent === undefined || parent === "" ? [] : [[id, parent] as const])),
  );
}

/** The layers and all their ancestors. */
function closure(ids: readonly string[], parents: ReadonlyMap<string, string>): Set<string> {
  const all = new Set<string>();
  for (let id of ids) {
    while (!all.has(id)) {
      all.add(id);
      id = parents.get(id) ?? id;
    }
  }
  return all;
}

function childrenFirst(layers: readonly StoredLayer[], isGoing: (id: string) => boolean): string[] {
  const parents = parentsOf(layers);
  const depth = (id: string): number => closure([id], parents).size;
  return layers
    .map(({ id }) => id)
    .filter(isGoing)
    .toSorted((a, b) => depth(b) - depth(a));
}

function refuseUsedImages(records: StoreRecords, images: ReadonlySet<string>): void {
  const user = records.containers.find(({ image }) => image !== undefined && images.has(image));
  if (user?.image !== undefined) throw usedBy(user, `image ${user.image}`);
}

function usedBy(container: StoredContainer, what: string): OneholdError {
  const name = container.names[0] ?? container.id;
  return new OneholdError("busy", `${what} is used by the container ${name}`, {
    subject: container.id,
    hint: `Remove the container first: podman --root … rm ${name}`,
  });
}

function intersects(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return !a.isDisjointFrom(b);
}
