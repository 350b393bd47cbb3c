import type { ImageStore } from "./store.ts";
import { storedRecords } from "./stored-records.ts";

/** What a store has of another one's, by id. */
export interface Borrowed {
  /** Images that it has containers of, or whose top layer its own image records name. */
  readonly images: ReadonlySet<string>;
  /** Layers that its own records stand on; those below them not among them. */
  readonly layers: ReadonlySet<string>;
}

/**
 * A store that has another as its additional store makes containers of the images there, and its pulls borrow layers:
 * podman's records then name what only the other has. Nobody counts such references, and what is named there breaks when
 * the lender removes it.
 * @throws corrupt, busy
 */
export function borrowedFrom(lender: ImageStore, borrower: ImageStore): Borrowed {
  const lent = storedRecords(lender);
  const own = storedRecords(borrower);
  const ownImages = new Set(own.images.map(({ id }) => id));
  const ownLayers = new Set(own.layers.map(({ id }) => id));
  const named = [
    ...own.images.flatMap(({ layer, "mapped-layers": mapped }) => [layer, ...mapped]),
    ...own.layers.map(({ parent }) => parent),
    ...own.containers.map(({ layer }) => layer),
  ];
  const lentLayers = new Set(lent.layers.map(({ id }) => id));
  const layers = new Set(named.filter((id) => id !== undefined && !ownLayers.has(id) && lentLayers.has(id)));
  const inUse = new Set(own.containers.flatMap(({ image }) => image ?? []));
  const ownTops = new Set(own.images.map(({ layer }) => layer));
  const images = lent.images
    .filter(({ id, layer }) => {
      if (inUse.has(id) && !ownImages.has(id)) return true;
      return layer !== undefined && layers.has(layer) && ownTops.has(layer);
    })
    .map(({ id }) => id);
  return { images: new Set(images), layers: new Set([...layers].filter((id) => id !== undefined)) };
}
