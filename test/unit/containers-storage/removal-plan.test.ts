import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { StoredImage } from "#stores/containers-storage/records.ts";
import {
  planImageRemoval,
  planLayerRemoval,
  planSweep,
  type StoreRecords,
  unreferencedLayerIds,
} from "#stores/containers-storage/removal-plan.ts";

/** Layers as "child<parent", images as "image:top", containers as "container:image:layer". */
function records(layers: string, images: string, containers = ""): StoreRecords {
  const words = (text: string): string[] => text.split(" ").filter((word) => word !== "");
  return {
    layers: words(layers).map((word) => {
      const [id = "", parent] = word.split("<");
      return parent === undefined ? { id } : { id, parent };
    }),
    images: words(images).map((word) => {
      const [id = "", layer = "", ...mapped] = word.split(":");
      return imageRecord(id, layer, mapped);
    }),
    containers: words(containers).map((word) => {
      const [id = "", image = "", layer = ""] = word.split(":");
      return { id, names: [id], image, layer };
    }),
  };
}

function imageRecord(id: string, layer: string, mapped: string[]): StoredImage {
  return { id, layer, names: [], "mapped-layers": mapped, "big-data-names": [] };
}

describe("removing an image", () => {
  const cases: readonly [string, StoreRecords, string[]][] = [
    ["takes its layers, the top one first", records("a b<a c<b", "one:c"), ["c", "b", "a"]],
    ["leaves what another image stands on", records("a b<a c<b d<b", "one:c two:d"), ["c"]],
    ["leaves its top layer where another image goes on from there", records("a b<a c<b", "one:b two:c"), []],
    ["leaves all where another has the same layers", records("a b<a", "one:b two:b"), []],
    ["leaves what a layer without an image stands on", records("a b<a c<b x<a", "one:c"), ["c", "b"]],
    ["takes layers made for other owners", records("a b<a m<a", "one:b:m"), ["b", "m", "a"]],
    ["leaves what another image's such layers stand on", records("a b<a m<b", "one:b two:a:m"), []],
    ["leaves what a container stands on", records("a b<a r<a", "one:b two:a", "box:two:r"), ["b"]],
    ["has nothing to take of an image without layers", records("a", "one: two:a"), []],
    ["passes over layers that are not there", records("b<a", "one:b"), ["b"]],
    ["comes to an end where layers are their own ancestors", records("a<b b<a", "one:b"), ["a", "b"]],
  ];
  for (const [what, store, expected] of cases) {
    test(what, () =>
      assert.deepEqual(planImageRemoval(store, new Set(["one"])), { images: ["one"], layers: expected }),
    );
  }

  test("is refused where a container was made from it", () => {
    assert.throws(() => planImageRemoval(records("a r<a", "one:a", "box:one:r"), new Set(["one"])), {
      code: "busy",
      message: /box/,
    });
  });
});

describe("dropping a layer", () => {
  test("takes what stands on it, and the images that need that", () => {
    const store = records("a b<a c<b d<a", "one:c two:d three:b");
    assert.deepEqual(planLayerRemoval(store, new Set(["b"])), { images: ["one", "three"], layers: ["c", "b"] });
    assert.deepEqual(planLayerRemoval(store, new Set(["d"])), { images: ["two"], layers: ["d"] });
    assert.deepEqual(planLayerRemoval(store, new Set(["none"])), { images: [], layers: [] });
  });

  test("is refused where a container needs it", () => {
    const store = records("a b<a r<b", "one:b two:a", "box:one:r");
    assert.throws(() => planLayerRemoval(store, new Set(["a"])), { code: "busy" });
    assert.throws(() => planLayerRemoval(records("a r<a", "", "box::r"), new Set(["a"])), { code: "busy" });
  });
});

test("unreferenced are the layers that no image and no container stands on", () => {
  const store = records("a b<a c<b d<a e r<b", "one:b", "box:one:r");
  assert.deepEqual(unreferencedLayerIds(store), new Set(["c", "d", "e"]));
  assert.deepEqual(unreferencedLayerIds(records("a b<a m<a", "one:a:m")), new Set(["b"]));
});

test("a sweep takes of the layers given those that nothing stands on", () => {
  const store = records("a b<a c<b d<c", "one:a");
  assert.deepEqual(planSweep(store, new Set(["a", "b", "c", "d"])), { images: [], layers: ["d", "c", "b"] });
  assert.deepEqual(planSweep(store, new Set(["b", "c"])), { images: [], layers: [] });
  assert.deepEqual(planSweep(store, new Set(["d", "b"])), { images: [], layers: ["d"] });
});
