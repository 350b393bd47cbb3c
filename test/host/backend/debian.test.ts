import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listMountedImage, withMountedImage } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { modernPrefix, runModern } from "#fixtures/modern-chroot.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameLines, assertSameListing, expectedDump, expectedListing, withoutLinks } from "./expected-image.ts";
import { assertSound, fileObjects, tagsOf } from "./repository.ts";

test("Debian as a host image is the same in podman, in composefs, and as mkcomposefs makes it", {
  timeout: 300_000,
}, async (t) => {
  const { layout, images } = await debianImages();
  await using registry = await makeRegistry({ layouts: [layout] });
  await withFileSystem("xfs", { sizeMiB: 4096 }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "composefs");
    const name = `${registry.address}/os:1`;
    await onehold(sysroot, ["init", "--backend", "both", "--composefs-digest", "sha256"]);
    const report = await onehold<PullReport>(sysroot, ["image", "pull", name, "--tls-verify=false"]);
    assert.deepEqual(report.composefs?.refused, []);
    const podman = { additionalStore: join(sysroot, "ostree/bootc/storage"), image: name };
    const mounted = await listMountedImage(podman);
    assert.ok(mounted.length > 15_000, `${mounted.length} names`);

    const rules = { boot: true };
    await t.test("the boot image shows what podman mounts", async () => {
      const at = join(folder, "boot");
      mkdirSync(at);
      await onehold(sysroot, ["internals", "mount", report.composefs?.images["composefs.image.boot.v1"] ?? "", at]);
      try {
        assertSameListing(await listTree(at), expectedListing(mounted, rules), rules);
      } finally {
        await onehold(sysroot, ["internals", "umount", at]);
      }
    });

    await t.test("both images are mkcomposefs's of what podman mounts", async () => {
      const prefix = (await modernPrefix()).join(" ");
      const scanned = join(folder, "scanned");
      const script = `${prefix} mkcomposefs "$mounted" '${scanned}' && ${prefix} composefs-info dump '${scanned}'`;
      const scan = await withMountedImage(podman, script);
      for (const boot of [false, true]) {
        const id = report.composefs?.images[`composefs.image${boot ? ".boot" : ""}.v1`] ?? "";
        const image = join(repository, "images", id);
        const dump = await runModern(["composefs-info", "dump", image]);
        assertSameLines(withoutLinks(dump), expectedDump(scan, dump, { boot }));
        const missing = ["composefs-info", `--basedir=${join(repository, "objects")}`, "missing-objects", image];
        assert.equal(await runModern(missing), "");
        // Hardlinks are in no folder that mkcomposefs scans: from a dump it makes them.
        const dumpFile = join(folder, "dump");
        await runProgram("tee", [dumpFile], { input: dump });
        const own = join(folder, "own");
        await runModern(["mkcomposefs", "--from-file", "--min-version=1", dumpFile, own]);
        assert.ok(readFileSync(own).equals(readFileSync(image)), "the image is not C's of the same dump");
      }
    });

    await t.test("every object, stream and image is what its name says", async () => {
      assert.ok(fileObjects(repository).size > 10_000);
      assert.equal(tagsOf(repository).get(`docker://${name}`), `../../oci-manifest-${images["os:1"].manifestDigest}`);
      await assertSound(repository);
    });
  });
});
