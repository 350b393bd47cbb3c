import { randomBytes } from "node:crypto";
import {
  addImage,
  addLayer,
  addManifestList,
  type Image,
  makeOciLayout,
  type OciLayout,
} from "#fixtures/oci-layout.ts";
import { directory, file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

/** Two versions of an image that share their first layer; random content does not get smaller on the way. */
export interface TestImages extends AsyncDisposable {
  readonly layout: OciLayout;
  readonly first: Image;
  readonly second: Image;
  /** A list of `first`, and of one for a machine that nobody has. */
  readonly listDigest: string;
}

export async function makeTestImages(): Promise<TestImages> {
  const folder = await makeTemporaryFolder("images");
  const layout = makeOciLayout(folder.path);
  const layer = (name: string, size: number) =>
    addLayer(layout, { entries: [directory(name), file(`${name}/data`, randomBytes(size))] });
  const [shared, one, two] = [
    await layer("shared", 6_000_000),
    await layer("one", 1_500_000),
    await layer("two", 700_000),
  ];
  const first = addImage(layout, { tag: "os:1", layers: [shared, one] });
  const second = addImage(layout, { tag: "os:2", layers: [shared, two] });
  const foreign = addImage(layout, { tag: "foreign:1", layers: [two], architecture: "s390x" });
  const listDigest = addManifestList(layout, "list:1", [foreign, first]);
  addManifestList(layout, "foreign-list:1", [foreign]);
  return { layout, first, second, listDigest, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

/** Of all blobs, in bytes. */
export function sizeOf(image: Image): number {
  return image.layers.reduce((sum, { size }) => sum + size, 0);
}
