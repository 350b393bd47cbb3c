import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { device, directory, type Entry, fifo, file, hardlink } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree, expectedInOstree } from "./expected-tree.ts";

async function bootable(layout: OciLayout, tag: string, ...layers: (readonly Entry[])[]): Promise<void> {
  const blobs = [];
  for (const entries of layers) blobs.push(await addLayer(layout, { entries }));
  addImage(layout, { tag, layers: blobs, labels: { "containers.bootc": "1" } });
}

test("what ostree can't hold is left out, or refuses the projection", { timeout: 120_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");

    await t.test("FIFOs and devices are left out, counted and named", async () => {
      const special = [fifo("usr/pipe"), device("usr/null", "char", [1, 3]), device("usr/disk", "block", [8, 0])];
      await bootable(layout, "special", [
        directory("usr"),
        file("usr/file", "content"),
        ...special,
        device("dev/zero", "char", [1, 5]),
      ]);
      const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:special`]);
      assert.deepEqual(report.ostree?.leftOut?.special.toSorted(), ["/usr/disk", "/usr/null", "/usr/pipe"]);
      assert.deepEqual(report.ostree?.leftOut?.byRule, { "/dev": 1 });
      await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
      await runProgram("ostree", [
        `--repo=${repository}`,
        "checkout",
        report.ostree?.commit ?? "",
        join(folder, "special"),
      ]);
      const [image] = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      const mounted = await listMountedImage({
        additionalStore: join(sysroot, "ostree/bootc/storage"),
        image: image?.image ?? "",
      });
      assertSameTree(await listTree(join(folder, "special")), expectedInOstree(mounted));
      assert.match(image?.notes.join("\n") ?? "", /3 devices and FIFOs \(.*\/usr\/pipe/);
    });

    await t.test("a name that is not UTF-8 refuses the projection; the image store keeps the image", async () => {
      const objects = objectNames(repository);
      const refs = await runProgram("ostree", [`--repo=${repository}`, "refs"]);
      await bootable(layout, "bytes", [
        directory("usr"),
        file(Buffer.from("usr/caf\xe9", "latin1"), "latin1"),
        file("usr/other", "not written"),
      ]);
      const ended = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:bytes`]);
      assert.equal(ended.status, 1);
      assert.match(ended.stderr, /\/usr\/caf\\xe9 has a name that is not UTF-8/);
      assert.deepEqual(objectNames(repository), objects);
      assert.equal(await runProgram("ostree", [`--repo=${repository}`, "refs"]), refs);
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      const image = images.find((each) => each.image?.endsWith(":bytes"));
      assert.deepEqual(image?.stores, ["image store"]);
      assert.match(image?.notes.join("\n") ?? "", /not in ostree: .*not UTF-8/);
      const mounted = await listMountedImage({
        additionalStore: join(sysroot, "ostree/bootc/storage"),
        image: image?.image ?? "",
      });
      assert.ok(mounted.some((each) => each.path === "usr/caf\xe9"));
    });

    await t.test("a hardlink to a lower layer is podman's refusal; the stores are as before", async () => {
      const refs = await runProgram("ostree", [`--repo=${repository}`, "refs"]);
      const before = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      await bootable(
        layout,
        "cross",
        [directory("usr"), file("usr/target", "x")],
        [hardlink("usr/link", "usr/target")],
      );
      const ended = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:cross`]);
      assert.equal(ended.status, 1);
      assert.match(ended.stderr, /^error: .*:cross was not pulled: .*can't be unpacked/m);
      assert.deepEqual(await onehold<ListedImageReport[]>(sysroot, ["image", "list"]), before);
      assert.equal(await runProgram("ostree", [`--repo=${repository}`, "refs"]), refs);
      assert.deepEqual(readdirSync(join(sysroot, "onehold/tmp")), []);
      assert.equal(existsSync(join(sysroot, "onehold/operation.json")), false);
    });

    await t.test("a repository in which objects would inherit an ACL is refused before it is written", async () => {
      await bootable(layout, "acl", [directory("usr"), file("usr/new", "never seen before")]);
      await runProgram("setfacl", ["-d", "-m", "u:7:r", join(repository, "objects")]);
      const ended = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:acl`]);
      assert.equal(ended.status, 1);
      assert.match(ended.stderr, /objects has a default ACL/);
      assert.match(ended.stderr, /setfacl -k/);
      await runProgram("setfacl", ["-k", join(repository, "objects")]);
      await onehold(sysroot, ["image", "pull", `oci:${layout.folder}:acl`]);
      await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
    });
  });
});

function objectNames(repository: string): string[] {
  return readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" }).toSorted();
}
