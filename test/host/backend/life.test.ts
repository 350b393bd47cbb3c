import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import { directory, file } from "#fixtures/tar-writer.ts";
import { openRepository } from "#stores/composefs/repository.ts";
import { addImage as addForeignImage, tarOfFiles } from "../composefs/images.ts";
import { noise } from "./hard-image.ts";
import {
  assertSound,
  assertStreams,
  blocksOf,
  fileObjects,
  filesOfTheirOwn,
  filesRead,
  objectFiles,
  snapshot,
  tagsOf,
  usedBytes,
} from "./repository.ts";

interface UsageReport {
  readonly stores: readonly {
    readonly store: string;
    readonly bytes: number;
    readonly shared: number;
    readonly exclusive: number;
    readonly copied: number;
  }[];
  readonly images: readonly {
    readonly names: readonly string[];
    readonly bytes: number;
    readonly shared: number;
    readonly exclusive: number;
    readonly copied: number;
  }[];
}

interface RemoveReport {
  readonly outcome: string;
  readonly ostree?: { readonly objects: number; readonly bytes: number };
  readonly composefs?: { readonly objects: number; readonly bytes: number };
}

const labels = { "containers.bootc": "1" };
const top = ["boot", "run", "sysroot", "usr"].map((name) => directory(name, { mtime: 5 }));
/** Of the base layer: names, and how many bytes each. */
const sizes = Array.from({ length: 60 }, (_, i) => 100 + i * 3000);
const baseEntries = [...top, ...sizes.map((size) => file(`usr/file-${size}`, noise(size, "base")))];
const upperEntries = [
  directory("usr", { mtime: 6 }),
  file("usr/new", noise(200_000, "new")),
  file("usr/small", "small"),
  // Equal to one of the layer below: the object is there, the tree is not.
  file("usr/equal", noise(sizes[9] ?? 0, "base")),
];

test("both backends, from the first pull to the last removal", { timeout: 300_000 }, async (t) => {
  // Strict times of access: they tell which files were read.
  await withFileSystem("xfs", { sizeMiB: 600, mountOptions: ["strictatime"] }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addLayer(layout, { entries: baseEntries });
    const upper = await addLayer(layout, { entries: upperEntries });
    const v1 = addImage(layout, { tag: "os:1", layers: [base], labels });
    assert.deepEqual(addImage(layout, { tag: "os:same", layers: [base], labels }).manifestDigest, v1.manifestDigest);
    const v2 = addImage(layout, { tag: "os:2", layers: [base, upper], labels });
    await using registry = await makeRegistry({ layouts: [layout] });
    await using proxy = await makeRegistryProxy(registry);
    const nameOf = (tag: string) => `${proxy.address}/os:${tag}`;
    const referenceOf = (tag: string) => `docker://${nameOf(tag)}`;
    const pullInto = (sysroot: string, tag: string, ...options: string[]) =>
      onehold<PullReport>(sysroot, ["image", "pull", nameOf(tag), "--tls-verify=false", ...options]);
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const diffs = join(sysroot, "ostree/bootc/storage/overlay");
    const repository = join(sysroot, "composefs");
    const check = async () => {
      await assertSound(repository);
      await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
    };
    const empty = await onehold<{ backend: string }>(sysroot, ["init", "--backend", "both"]);
    assert.equal(empty.backend, "both");
    await usedBytes(folder);

    await t.test("a second pull changes nothing and reads nothing", async () => {
      const first = await pullInto(sysroot, "1");
      assert.deepEqual(first.ostree?.layers, { imported: 1, present: 0 });
      assert.deepEqual(first.composefs?.layers, { imported: 1, present: 0 });
      assert.deepEqual(first.composefs?.account?.reflinked.files, sizes.length);
      assertStreams(repository, layout, v1, referenceOf("1"));
      const before = [repository, join(sysroot, "ostree/repo"), join(sysroot, "onehold/images")].map(snapshot);
      const read = filesRead(diffs);
      const again = await pullInto(sysroot, "1");
      assert.deepEqual([again.ostree?.state, again.composefs?.state], ["present", "present"]);
      assert.deepEqual(again.composefs?.images, first.composefs.images);
      assert.deepEqual(filesRead(diffs), read);
      const after = [repository, join(sysroot, "ostree/repo"), join(sysroot, "onehold/images")].map(snapshot);
      assert.deepEqual(after, before);
      await check();
    });

    await t.test("a second version costs its new layer, and reads nothing else", async () => {
      const before = snapshot(join(repository, "objects"));
      const read = filesRead(diffs);
      const report = await pullInto(sysroot, "2", "--pin");
      assert.deepEqual(report.composefs?.layers, { imported: 1, present: 1 });
      assert.deepEqual(report.composefs.account?.reflinked, { files: 1, bytes: 200_000 });
      assert.deepEqual(report.composefs.account.present, { files: 1, bytes: sizes[9] });
      const touched = [...filesRead(diffs)].filter(([name, time]) => read.has(name) && read.get(name) !== time);
      assert.deepEqual(touched, [], "files of the layer that was there");
      const added = [...snapshot(join(repository, "objects")).keys()].filter((name) => !before.has(name));
      // The large file; the layer's stream; streams of config and manifest, and these; two images.
      assert.equal(added.length, 1 + 1 + 4 + 2, added.join("\n"));
      assertStreams(repository, layout, v2, referenceOf("2"));
      await check();
    });

    await t.test("tags are those of names and pins; images are listed with their stores", async () => {
      const pin = `onehold/pinned/${v2.manifestDigest}`;
      assert.deepEqual([...tagsOf(repository).keys()].toSorted(), [referenceOf("1"), referenceOf("2"), pin].toSorted());
      await onehold(sysroot, ["image", "unpin", nameOf("2")]);
      await onehold(sysroot, ["image", "pin", nameOf("1")]);
      const other = `onehold/pinned/${v1.manifestDigest}`;
      assert.deepEqual(
        [...tagsOf(repository).keys()].toSorted(),
        [referenceOf("1"), referenceOf("2"), other].toSorted(),
      );
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(
        images.map(({ stores, reasons, notes }) => ({ stores, reasons, notes })),
        images.map(({ digest }) => ({
          stores: ["image store", "ostree", "composefs"],
          reasons: digest === v1.manifestDigest ? [`pinned as ${nameOf("1")}`] : [],
          notes: [],
        })),
      );
      const pinned = await tryOnehold(sysroot, ["image", "remove", nameOf("1")]);
      assert.deepEqual([pinned.status, /pinned/.test(pinned.stderr)], [1, true]);
      await onehold(sysroot, ["image", "unpin", nameOf("1")]);
      await check();
    });

    await t.test("an image with two names loses one of them in every store", async () => {
      const same = await pullInto(sysroot, "same");
      assert.deepEqual([same.digest, same.composefs?.state], [v1.manifestDigest, "present"]);
      assert.ok(tagsOf(repository).has(referenceOf("same")));
      for (const [name, other] of [
        ["1", "same"],
        ["same", "1"],
      ] as const) {
        const { outcome } = await onehold<RemoveReport>(sysroot, ["image", "remove", nameOf(name)]);
        assert.equal(outcome, "untagged");
        assert.deepEqual([...tagsOf(repository).keys()].toSorted(), [referenceOf(other), referenceOf("2")].toSorted());
        assertStreams(repository, layout, v1, referenceOf(other));
        if (name === "1") await pullInto(sysroot, "1");
      }
      await check();
    });

    await t.test("usage agrees with the extents of the files", async () => {
      const { stores, images } = await onehold<UsageReport>(sysroot, ["usage"]);
      assert.deepEqual(
        stores.map(({ store, copied }) => [store, copied]),
        [
          ["image store", 0],
          ["ostree", 0],
          ["composefs", 0],
        ],
      );
      const composefs = stores.find(({ store }) => store === "composefs");
      const shared = objectFiles(repository, fileObjects(repository));
      const all = [...snapshot(join(repository, "objects")).keys()].map((name) => join(repository, "objects", name));
      const own = all.filter((name) => !shared.includes(name));
      assert.deepEqual(await filesOfTheirOwn(shared), []);
      assert.deepEqual((await filesOfTheirOwn(all)).toSorted(), own.toSorted());
      assert.deepEqual([composefs?.shared, composefs?.exclusive], [await blocksOf(shared), await blocksOf(own)]);
      for (const image of images)
        assert.ok(image.copied === 0 && image.shared > image.exclusive, JSON.stringify(image));
    });

    await t.test("what a foreign tag keeps stays; removing gives back what no other image needs", async () => {
      const foreign = "localhost/bootc-sha256:0123";
      const link = join(repository, "streams/refs/oci", foreign.replaceAll("/", "%2F"));
      symlinkSync(`../../oci-manifest-${v2.manifestDigest}`, link);
      const kept = await tryOnehold(sysroot, ["image", "remove", nameOf("2")]);
      assert.equal(kept.status, 1);
      assert.match(kept.stderr, /kept by the composefs tag localhost\/bootc-sha256:0123/);
      unlinkSync(link);
      // An image that another program has put there, and no other store has.
      const alien = await addForeignImage(openRepository(repository), { tag: foreign, layers: [tarOfFiles("alien")] });
      const expected = (await onehold<UsageReport>(sysroot, ["usage"])).images.find(({ names }) =>
        names.includes(nameOf("2")),
      );
      const before = await usedBytes(folder);
      const removed = await onehold<RemoveReport>(sysroot, ["image", "remove", nameOf("2")]);
      const freed = before - (await usedBytes(folder));
      assert.equal(removed.composefs?.objects, 1 + 1 + 4 + 2);
      assert.ok(expected !== undefined && expected.exclusive > 200_000);
      assert.ok(
        Math.abs(freed - expected.exclusive) < 300_000,
        `${freed} bytes freed, ${expected.exclusive} announced`,
      );
      assert.deepEqual([...tagsOf(repository).keys()].toSorted(), [referenceOf("1"), foreign].toSorted());
      assertStreams(repository, layout, v1, referenceOf("1"));
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(
        images.find(({ digest }) => digest === alien.manifestDigest),
        images.find(({ stores }) => stores.length === 1 && stores[0] === "composefs"),
      );
      await check();

      await onehold(sysroot, ["image", "remove", nameOf("1")]);
      assert.deepEqual([...tagsOf(repository).keys()], [foreign]);
      await assertSound(repository);
      assert.equal(fileObjects(repository).size, 1);
    });

    for (const [first, second] of [
      ["ostree", "composefs"],
      ["composefs", "ostree"],
    ] as const) {
      await t.test(
        `an image in ${first} alone gets into ${second} without the network, and takes no more bytes`,
        async () => {
          const later = join(folder, `first-${first}`);
          mkdirSync(later);
          await onehold(later, ["init", "--backend", first]);
          const alone = await pullInto(later, "2");
          assert.deepEqual(
            [alone.ostree === undefined, alone.composefs === undefined],
            [first !== "ostree", first !== "composefs"],
          );
          await onehold(later, ["init", "--backend", "both"]);
          const blobs = proxy.blobsFetched().length;
          const both = await pullInto(later, "2");
          assert.equal(proxy.blobsFetched().length, blobs);
          assert.deepEqual(
            [both.imageStore, both[first]?.state, both[second]?.state],
            ["present", "present", "imported"],
          );
          const files = objectFiles(join(later, "composefs"), fileObjects(join(later, "composefs")));
          assert.equal(files.length, sizes.length + 1);
          assert.deepEqual(await filesOfTheirOwn(files), []);
          const { stores } = await onehold<UsageReport>(later, ["usage"]);
          for (const store of stores) assert.equal(store.copied, 0, store.store);
          assertStreams(join(later, "composefs"), layout, v2, referenceOf("2"));
          await assertSound(join(later, "composefs"));
          await runProgram("ostree", [`--repo=${join(later, "ostree/repo")}`, "fsck", "--quiet"]);
        },
      );
    }

    await t.test("a name that moves to an image that is none for a host is the old one's no more", async () => {
      const alone = join(folder, "moved");
      mkdirSync(alone);
      await onehold(alone, ["init", "--backend", "composefs"]);
      const pull = ["image", "pull", `oci:${layout.folder}:moves`];
      addImage(layout, { tag: "moves", layers: [base], labels });
      await onehold(alone, pull);
      assert.deepEqual([...tagsOf(join(alone, "composefs")).keys()], [pull[2]]);
      addImage(layout, { tag: "moves", layers: [upper] });
      await onehold(alone, pull);
      assert.deepEqual([...tagsOf(join(alone, "composefs")).keys()], []);
      const images = await onehold<ListedImageReport[]>(alone, ["image", "list"]);
      const old = images.find(({ digest }) => digest === v1.manifestDigest);
      assert.deepEqual([old?.names, old?.stores], [[], ["image store", "composefs"]]);
      await onehold(alone, ["image", "remove", v1.manifestDigest]);
      assert.deepEqual([...snapshot(join(alone, "composefs/objects")).keys()], []);
    });
  });
});
