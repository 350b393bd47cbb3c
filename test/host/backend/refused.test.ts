import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import type { Layer } from "#fixtures/layer-blob.ts";
import { addImage, addLayer, type Image, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, sparse, symlink } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { readImage } from "#stores/composefs/oci-images.ts";
import { openRepository } from "#stores/composefs/repository.ts";
import { assertSameListing, expectedListing } from "./expected-image.ts";
import { noise } from "./hard-image.ts";
import { assertSound, assertStreams, reassemble, tagsOf } from "./repository.ts";

const top = ["boot", "run", "sysroot", "usr"].map((name) => directory(name, { mtime: 5 }));

interface Refusal {
  readonly what: string;
  readonly layers: readonly (readonly Entry[])[];
  readonly why: RegExp;
  /** Layers that have a stream all the same; the image has its documents only where all have. */
  readonly streams: readonly boolean[];
  readonly raw?: boolean;
}

const refusals: readonly Refusal[] = [
  {
    what: "no-usr",
    layers: [[...top.slice(0, 3), file("boot/data", noise(100, "no usr"))]],
    why: /it has no directory \/usr/,
    streams: [true],
  },
  {
    what: "parents",
    layers: [top, [file("usr/a/b/data", noise(100, "parents"))]],
    why: /no layer lists the directory \/usr\/a/,
    streams: [true, true],
  },
  {
    what: "no-sysroot",
    layers: [[top[0] ?? directory("boot"), directory("usr"), file("usr/data", noise(100, "no sysroot"))]],
    why: /it has no directory \/sysroot/,
    streams: [true],
    raw: true,
  },
  {
    what: "twice",
    layers: [
      // Podman refuses a name twice, and does not see that these two are one.
      [
        ...top,
        directory("usr/real"),
        symlink("usr/link", "real"),
        file("usr/link/twice", noise(100, "first")),
        file("usr/real/twice", noise(200, "second")),
      ],
      [file("usr/other", noise(300, "other"))],
    ],
    why: /the layer's tar has usr\/link\/twice twice/,
    streams: [false, true],
  },
  {
    what: "sparse",
    layers: [
      [...top, file("usr/whole", noise(100, "whole"))],
      [sparse("usr/sparse", 1 << 20, [{ offset: 4096, bytes: Buffer.from("piece") }])],
    ],
    why: /"usr\/sparse" is sparse in its tar/,
    streams: [true, false],
  },
];

test("what one store can't hold does not keep it from the others", { timeout: 180_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "composefs");
    const ostree = (...args: string[]) => runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, ...args]);
    const podman = join(sysroot, "ostree/bootc/storage");
    await onehold(sysroot, ["init", "--backend", "both", "--composefs-digest", "sha256"]);
    const make = async (
      tag: string,
      layers: readonly (readonly Entry[])[],
      labels: Record<string, string> = { "containers.bootc": "1" },
    ) => {
      const blobs: Layer[] = [];
      for (const entries of layers) blobs.push(await addLayer(layout, { entries }));
      return { blobs, image: addImage(layout, { tag, layers: blobs, labels }), source: `oci:${layout.folder}:${tag}` };
    };
    const listed = async ({ manifestDigest }: Image) => {
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      return images.find(({ digest }) => digest === manifestDigest);
    };

    for (const { what, layers, why, streams, raw } of refusals) {
      await t.test(`composefs: ${what}`, async () => {
        const { image, blobs, source } = await make(what, layers);
        const report = await onehold<PullReport>(sysroot, ["image", "pull", source]);
        assert.equal(report.ostree?.state, "imported");
        assert.match(report.composefs?.refused?.join("\n") ?? "", why);
        assert.deepEqual(Object.keys(report.composefs?.images ?? {}), raw === true ? ["composefs.image.v1"] : []);
        for (const [i, { diffId }] of blobs.entries()) {
          const name = `oci-layer-${diffId}`;
          assert.equal(existsSync(join(repository, "streams", name)), streams[i], name);
          if (streams[i] === true) assert.ok(reassemble(repository, name).length > 0);
        }
        const whole = !streams.includes(false);
        if (whole) assertStreams(repository, layout, image, source);
        else assert.equal(tagsOf(repository).has(source), false);
        await assertSound(repository);
        const entry = await listed(image);
        assert.deepEqual(entry?.stores, ["image store", "ostree", ...(whole ? ["composefs"] : [])]);
        assert.match(entry.notes.join("\n"), why);
        // Podman shows what ostree and composefs share.
        const files = await listMountedImage({ additionalStore: podman, image: entry.image ?? "" });
        assert.ok(files.length > 1);

        const again = await onehold<PullReport>(sysroot, ["image", "pull", source]);
        assert.equal(again.ostree?.state, "present");
        assert.deepEqual(again.composefs?.refused, report.composefs?.refused);
        if (whole) assert.deepEqual(again.composefs?.layers, { imported: 0, present: layers.length });
        assert.deepEqual((await listed(image))?.notes, entry.notes);
        await assertSound(repository);
      });
    }

    await t.test("composefs: a layer without tar-split", async () => {
      const { image, blobs, source } = await make("headless", [[...top, file("usr/data", noise(100, "headless"))]], {});
      await onehold(sysroot, ["image", "pull", source]);
      rmSync(join(podman, "overlay-layers", `${hexOf(blobs[0]?.diffId ?? image.configDigest)}.tar-split.gz`));
      const report = await onehold<PullReport>(sysroot, ["image", "pull", source, "--host"]);
      assert.equal(report.ostree?.state, "imported");
      assert.equal(report.composefs?.refused?.length, 1);
      assert.match(report.composefs.refused[0] ?? "", /tar-split/);
      await assertSound(repository);
    });

    await t.test("ostree: a name that is not UTF-8; the command says so, composefs has it", async () => {
      const { image, source } = await make("bytes", [
        [...top, file(Buffer.from("usr/caf\xe9", "latin1"), noise(100, "latin1")), file("usr/other", noise(200, "x"))],
      ]);
      const objects = readdirSync(join(sysroot, "ostree/repo/objects"), { recursive: true });
      const refs = await ostree("refs");
      for (const state of ["imported", "present"]) {
        const ended = await tryOnehold(sysroot, ["image", "pull", source, "--pin"]);
        assert.equal(ended.status, 1, state);
        assert.match(ended.stderr, /\/usr\/caf\\xe9 has a name that is not UTF-8/);
        assert.deepEqual(readdirSync(join(sysroot, "ostree/repo/objects"), { recursive: true }), objects);
        assert.equal(await ostree("refs"), refs);
        assertStreams(repository, layout, image, source);
        await assertSound(repository);
        const entry = await listed(image);
        assert.deepEqual(entry?.stores, ["image store", "composefs"]);
        assert.match(entry.notes.join("\n"), /not in ostree: .*not UTF-8/);
        const at = join(folder, `bytes-${state}`);
        mkdirSync(at);
        const stored = await readImage(openRepository(repository), image.manifestDigest);
        await onehold(sysroot, ["internals", "mount", stored?.erofs.get("composefs.image.v1") ?? "", at]);
        const rules = { boot: false };
        const mounted = await listMountedImage({ additionalStore: podman, image: entry.image ?? "" });
        assert.ok(mounted.some(({ path }) => path === "usr/caf\xe9"));
        assertSameListing(await listTree(at), expectedListing(mounted, rules), rules);
        await onehold(sysroot, ["internals", "umount", at]);
      }
      // The pin did not come about, so nothing may keep what the failed pull has pinned in composefs.
      await onehold(sysroot, ["image", "remove", source]);
      assert.deepEqual(
        [...tagsOf(repository).values()].filter((link) => link.includes(image.manifestDigest)),
        [],
      );
      assert.equal(existsSync(join(repository, "streams", `oci-manifest-${image.manifestDigest}`)), false);
      await assertSound(repository);
    });
    await ostree("fsck", "--quiet");
  });
});
