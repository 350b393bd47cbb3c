import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, addManifestList, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage, type Registry } from "#fixtures/registry.ts";
import { directory, type Entry, file, hardlink, opaque, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree } from "./projection/expected-tree.ts";

const labels = { "containers.bootc": "1" };

interface Place {
  readonly folder: string;
  readonly layout: OciLayout;
  readonly registry: Registry;
  readonly sysroot: string;
  readonly repository: string;
  readonly pull: (name: string, ...options: string[]) => Promise<PullReport>;
}

async function withPlace(run: (place: Place) => Promise<void>): Promise<void> {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    await using registry = await makeRegistry();
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const pull = (name: string, ...options: string[]) =>
      onehold<PullReport>(sysroot, ["image", "pull", `${registry.address}/${name}`, "--tls-verify=false", ...options]);
    const layout = makeOciLayout(join(folder, "layout"));
    const repository = join(sysroot, "ostree/repo");
    await run({ folder, layout, registry, sysroot, repository, pull });
    await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
  });
}

const layerOf = (layout: OciLayout, ...entries: Entry[]) =>
  addLayer(layout, { entries: [directory("usr"), ...entries] });

test("a tag that moves: the pinned version stays whole, the next costs its own layer, names come and go", {
  timeout: 120_000,
}, async () => {
  await withPlace(async ({ layout, registry, sysroot, repository, pull }) => {
    const base = await layerOf(layout, ...Array.from({ length: 50 }, (_, i) => file(`usr/file-${i}`, `content ${i}`)));
    const top = await layerOf(layout, file("usr/version", "2"));
    const v1 = addImage(layout, { tag: "v1", layers: [base], labels });
    const v2 = addImage(layout, { tag: "v2", layers: [base, top], labels });
    await pushImage(layout, "v1", registry, "os:latest");
    const first = await pull("os:latest", "--pin");
    assert.equal(first.digest, v1.manifestDigest);
    const before = objectsIn(repository);

    await pushImage(layout, "v2", registry, "os:latest");
    const second = await pull("os:latest");
    assert.equal(second.digest, v2.manifestDigest);
    assert.deepEqual(second.ostree?.layers, { imported: 1, present: 1 });
    const added = objectsIn(repository).filter((object) => !before.includes(object));
    const count = (type: string) => added.filter((object) => object.endsWith(type)).length;
    assert.deepEqual([count(".file"), count(".commit")], [1, 2], "the new file; the layer's commit and the merge's");
    assert.ok(added.length <= 8, added.join("\n"));

    // What is remembered of the shared layer only saves time: elsewhere, of the same image, the same commit is made.
    const elsewhere = join(sysroot, "elsewhere");
    mkdirSync(elsewhere);
    const name = (tag: string) => `${registry.address}/os:${tag}`;
    const anew = await onehold<PullReport>(elsewhere, ["image", "pull", "--tls-verify=false", name("latest")]);
    assert.equal(anew.ostree?.commit, second.ostree?.commit);
    for (const layer of readdirSync(join(sysroot, "onehold/layers"))) {
      truncateSync(join(sysroot, "onehold/layers", layer), 100);
    }

    // The pinned one lost its tag, and nothing else.
    assert.deepEqual(await pinnedCommits(repository), [first.ostree?.commit]);
    const listed = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
    const pinned = listed.find((image) => image.digest === v1.manifestDigest);
    assert.deepEqual(pinned?.stores.toSorted(), ["image store", "ostree"]);
    assert.match(pinned.reasons.join(), /pinned/);
    assert.equal(await contentOf(repository, first.ostree?.commit, "/usr/file-7"), "content 7");

    // By digest: the same image, found without a pull; then a second tag.
    const byDigest = await pull(`os@${v1.manifestDigest}`);
    assert.deepEqual([byDigest.digest, byDigest.bytes.fetched], [v1.manifestDigest, 0]);
    assert.equal(byDigest.ostree?.commit, first.ostree?.commit);
    await pushImage(layout, "v2", registry, "os:stable");
    const again = await pull("os:stable");
    assert.deepEqual([again.digest, again.ostree?.state, again.bytes.fetched], [v2.manifestDigest, "present", 0]);
    const names = (images: ListedImageReport[]) =>
      images.find((image) => image.digest === v2.manifestDigest)?.names.toSorted();
    assert.deepEqual(names(await onehold(sysroot, ["image", "list"])), [name("latest"), name("stable")]);

    await onehold(sysroot, ["image", "remove", name("stable")]);
    assert.deepEqual(names(await onehold(sysroot, ["image", "list"])), [name("latest")]);
    assert.equal(await contentOf(repository, second.ostree?.commit, "/usr/version"), "2");
    await onehold(sysroot, ["image", "remove", name("latest")]);
    assert.equal(names(await onehold(sysroot, ["image", "list"])), undefined);
    assert.deepEqual(objectsIn(repository), before, "what only the second version had is gone");
  });
});

test("an image never seen before is pulled by its digest", { timeout: 60_000 }, async () => {
  await withPlace(async ({ layout, registry, repository, pull }) => {
    const image = addImage(layout, { tag: "1", layers: [await layerOf(layout, file("usr/a", "a"))], labels });
    await pushImage(layout, "1", registry, "os:1");
    const report = await pull(`os@${image.manifestDigest}`);
    assert.equal(report.digest, image.manifestDigest);
    assert.equal(await contentOf(repository, report.ostree?.commit, "/usr/a"), "a");
    assert.equal((await pull(`os@${image.manifestDigest}`)).imageStore, "present");
  });
});

test("schema 2, zstd, a list of architectures, and a layer that comes twice", { timeout: 120_000 }, async () => {
  await withPlace(async ({ layout, registry, repository, pull }) => {
    const plain = await layerOf(layout, file("usr/a", "a"), file("usr/goes", "goes"));
    const without = await layerOf(layout, whiteout("usr/a"));
    const zstd = await addLayer(layout, { entries: [directory("usr"), file("usr/z", "z")] }, "zstd");
    addImage(layout, { tag: "docker", layers: [plain], labels, format: "docker" });
    addImage(layout, { tag: "zstd", layers: [plain, zstd], labels });
    addImage(layout, { tag: "twice", layers: [plain, without, plain], labels });
    const foreign = addImage(layout, { tag: "foreign", layers: [without], labels, architecture: "s390x" });
    const native = addImage(layout, { tag: "native", layers: [zstd], labels });
    addManifestList(layout, "list", [foreign, native]);
    const expected = { docker: ["a", "goes"], zstd: ["a", "goes", "z"], twice: ["a", "goes"], list: ["z"] };
    for (const [tag, files] of Object.entries(expected)) {
      await pushImage(layout, tag, registry, `os:${tag}`);
      const report = await pull(`os:${tag}`);
      if (tag === "list") assert.equal(report.digest, native.manifestDigest, "the instance's digest, not the list's");
      const printed = await runProgram("ostree", [`--repo=${repository}`, "ls", report.ostree?.commit ?? "", "/usr"]);
      const names = printed.match(/(?<=\/usr\/)\S+$/gm);
      assert.deepEqual(names, files, tag);
    }
  });
});

test("what /etc hides of /usr/etc comes to light where a layer removes it", { timeout: 60_000 }, async () => {
  await withPlace(async ({ layout, registry, repository, pull }) => {
    const both = [
      directory("usr/etc"),
      file("usr/etc/x", "below"),
      symlink("usr/etc/l", "below"),
      directory("etc"),
      file("etc/x", "above"),
      file("etc/l", "above"),
    ];
    const layers = [
      await layerOf(layout, ...both),
      await layerOf(layout, directory("etc"), whiteout("etc/x"), whiteout("etc/l")),
    ];
    addImage(layout, { tag: "1", layers, labels });
    await pushImage(layout, "1", registry, "os:1");
    const report = await pull("os:1");
    assert.equal(await contentOf(repository, report.ostree?.commit, "/usr/etc/x"), "below");
    const listed = await runProgram("ostree", [`--repo=${repository}`, "ls", report.ostree?.commit ?? "", "/usr/etc"]);
    assert.match(listed, /\/usr\/etc\/l -> below/);
  });
});

test("layers without tar-split are imported from their inodes", { timeout: 60_000 }, async () => {
  await withPlace(async ({ folder, layout, registry, sysroot, repository, pull }) => {
    const layers = [
      await layerOf(
        layout,
        file("usr/tool", "tool", { mode: 0o4755, uid: 3, xattrs: { "user.k": "v" } }),
        hardlink("usr/twin", "usr/tool", { mode: 0o4755, uid: 3 }),
        symlink("usr/link", "tool", { uid: 5 }),
        file("usr/goes", "goes"),
        directory("usr/opaque", { mode: 0o700 }),
        file("usr/opaque/old", "old"),
      ),
      await layerOf(
        layout,
        whiteout("usr/goes"),
        directory("usr/opaque", { mode: 0o711 }),
        opaque("usr/opaque"),
        file("usr/opaque/new", "new", { gid: 9 }),
      ),
    ];
    addImage(layout, { tag: "1", layers });
    await pushImage(layout, "1", registry, "os:1");
    const known = await pull("os:1", "--host");
    await runProgram("ostree", [
      `--repo=${repository}`,
      "checkout",
      known.ostree?.commit ?? "",
      join(folder, "from-tar"),
    ]);

    rmSync(repository, { recursive: true });
    const records = join(sysroot, "ostree/bootc/storage/overlay-layers");
    const tarSplits = readdirSync(records).filter((name) => name.endsWith(".tar-split.gz"));
    assert.equal(tarSplits.length, layers.length);
    for (const name of tarSplits) rmSync(join(records, name));
    const report = await pull("os:1", "--host");
    assert.equal(report.ostree?.state, "imported");
    await runProgram("ostree", [`--repo=${repository}`, "checkout", report.ostree.commit, join(folder, "from-inodes")]);
    assertSameTree(await listTree(join(folder, "from-inodes")), await listTree(join(folder, "from-tar")));
  });
});

function objectsIn(repository: string): string[] {
  return readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.includes("."))
    .toSorted();
}

/** What protects images from bootc's clean-up. */
async function pinnedCommits(repository: string): Promise<string[]> {
  const prefix = "ostree/container/baseimage/onehold";
  const refs = await runProgram("ostree", [`--repo=${repository}`, "refs", "--list", prefix]);
  const commits: string[] = [];
  for (const ref of refs.split("\n").filter((line) => line !== "")) {
    commits.push((await runProgram("ostree", [`--repo=${repository}`, "rev-parse", ref])).trim());
  }
  return commits;
}

function contentOf(repository: string, commit: string | undefined, path: string): Promise<string> {
  return runProgram("ostree", [`--repo=${repository}`, "cat", commit ?? "", path]);
}
