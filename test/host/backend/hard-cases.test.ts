import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listMountedImage, withMountedImage } from "#fixtures/containers.ts";
import { type FileSystemKind, withFileSystem } from "#fixtures/file-systems.ts";
import { modernPrefix, runModern } from "#fixtures/modern-chroot.ts";
import { addImage, type Image, makeOciLayout, type OciLayout, writeDirectoryImage } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import {
  assertSameLines,
  assertSameListing,
  expectedDump,
  expectedListing,
  linesOf,
  withoutLinks,
} from "./expected-image.ts";
import { addHardLayers, unlisted } from "./hard-image.ts";
import { assertSound, assertStreams, fileObjects, filesOfTheirOwn, objectFiles } from "./repository.ts";

interface Case {
  readonly kind: FileSystemKind;
  readonly backend: "composefs" | "both";
  readonly digest: "sha256" | "sha512";
  readonly imageFormat: 0 | 1 | 2;
  readonly links: boolean;
  readonly manifest: "oci" | "docker";
}

const cases: readonly Case[] = [
  { kind: "xfs", backend: "both", digest: "sha256", imageFormat: 1, links: false, manifest: "oci" },
  { kind: "btrfs", backend: "both", digest: "sha256", imageFormat: 0, links: true, manifest: "oci" },
  { kind: "xfs", backend: "composefs", digest: "sha512", imageFormat: 1, links: true, manifest: "docker" },
  { kind: "btrfs", backend: "composefs", digest: "sha256", imageFormat: 2, links: true, manifest: "oci" },
];

for (const each of cases) {
  const { kind, backend, digest, imageFormat, links, manifest } = each;
  const name = `${kind}, --backend ${backend}, ${digest}, V${imageFormat}, ${manifest}${links ? ", hardlinks" : ""}`;
  test(`an image of hard cases is the same in composefs and in podman (${name})`, { timeout: 180_000 }, async (t) => {
    await withFileSystem(kind, { sizeMiB: 600 }, async (folder) => {
      const layout = makeOciLayout(join(folder, "layout"));
      const layers = await addHardLayers(layout, { links });
      // The same layer twice: its stream is named once, its tree laid over itself.
      const top = layers.at(-1);
      assert.ok(top);
      const made = addImage(layout, {
        tag: "1",
        layers: [...layers, top],
        format: manifest,
        labels: { "containers.bootc": "1" },
      });
      const sysroot = join(folder, "sysroot");
      mkdirSync(sysroot);
      const repository = join(sysroot, "composefs");
      const settings = ["--composefs-digest", digest, "--composefs-format", `${imageFormat}`, "--insecure"];
      await onehold(sysroot, ["init", "--backend", backend, ...settings]);
      const meta = JSON.parse(readFileSync(join(repository, "meta.json"), "utf8")) as unknown;
      const features = imageFormat === 1 ? ["v1_erofs"] : [];
      assert.deepEqual(meta, {
        version: 1,
        algorithm: `fsverity-${digest}-12`,
        features: { compatible: [], "read-only-compatible": features, incompatible: [] },
        erofs_formats: { default: imageFormat },
      });
      assert.equal(statSync(repository).mode & 0o777, 0o700);

      const source = sourceOf(layout, made, manifest, folder);
      const report = await onehold<PullReport>(sysroot, ["image", "pull", source]);
      const { composefs } = report;
      assert.ok(composefs?.state === "imported");
      assert.deepEqual(composefs.refused, []);
      assert.deepEqual(report.ostree === undefined, backend === "composefs");
      assert.equal(composefs.account?.copied.files, 0);
      assert.equal(composefs.account.hardlinked.files, 0);
      const suffix = imageFormat === 2 ? "" : ".v1";
      assert.deepEqual(
        Object.keys(composefs.images).toSorted(),
        [`composefs.image.boot${suffix}`, `composefs.image${suffix}`].toSorted(),
      );
      assertStreams(repository, layout, made, source);
      await assertSound(repository);
      if (backend === "both") await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
      const [listed] = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(listed?.stores, ["image store", ...(backend === "both" ? ["ostree"] : []), "composefs"]);
      const podman = { additionalStore: join(sysroot, "ostree/bootc/storage"), image: listed.image ?? "" };
      const mounted = await listMountedImage(podman);
      assert.ok(mounted.length > 45, `podman mounts ${mounted.length} names`);

      for (const boot of [false, true]) {
        const id = composefs.images[`composefs.image${boot ? ".boot" : ""}${suffix}`] ?? "";
        const rules = { boot, unlisted };
        await t.test(`${boot ? "the boot image" : "the image"} shows what podman mounts`, async () => {
          const at = join(folder, boot ? "boot" : "raw");
          mkdirSync(at);
          await onehold(sysroot, ["internals", "mount", id, at]);
          try {
            // Format 2 knows no fractions of a second.
            const wanted = expectedListing(mounted, rules).map((file) =>
              imageFormat === 2 ? { ...file, mtime: file.mtime.replace(/\.\d+/, ".0000000000") } : file,
            );
            assertSameListing(await listTree(at), wanted, rules);
          } finally {
            await onehold(sysroot, ["internals", "umount", at]);
          }
        });

        // C's programs know neither SHA-512 nor the format of composefs-rs.
        if (digest === "sha512" || imageFormat === 2) continue;
        await t.test(`${boot ? "the boot image" : "the image"} is mkcomposefs's of what podman mounts`, async () => {
          const prefix = (await modernPrefix()).join(" ");
          const scanned = join(folder, `scanned-${boot}`);
          const store = join(folder, `store-${boot}`);
          const script = `${prefix} mkcomposefs --digest-store='${store}' "$mounted" '${scanned}' && ${prefix} composefs-info dump '${scanned}'`;
          const scan = await withMountedImage(podman, script);
          const image = join(repository, "images", id);
          const dump = await runModern(["composefs-info", "dump", image]);
          const wanted = expectedDump(scan, dump, rules);
          assertSameLines(withoutLinks(dump), wanted);

          const objects = (await runModern(["composefs-info", "objects", image])).split("\n").filter(Boolean);
          const used = new Set(
            linesOf(dump).flatMap((line) =>
              line[2]?.startsWith("10") === true && line[8] !== "-" ? [line[8] ?? ""] : [],
            ),
          );
          assert.deepEqual(new Set(objects), used);
          for (const object of used) {
            const bytes = readFileSync(join(repository, "objects", object));
            assert.deepEqual(bytes, readFileSync(join(store, object)));
          }
          const missing = ["composefs-info", `--basedir=${join(repository, "objects")}`, "missing-objects", image];
          assert.equal(await runModern(missing), "");
          const names = (await runModern(["composefs-info", "ls", image])).split("\n");
          assert.ok(
            names.some((line) => line.startsWith("/usr/share/size-65")),
            names.join("\n"),
          );

          if (links) return;
          // Without hardlinks, and with the time of directories that podman chose, all of the image is C's.
          const dumpFile = join(folder, `dump-${boot}`);
          await runProgram("tee", [dumpFile], { input: `${wanted.map((line) => line.join(" ")).join("\n")}\n` });
          const own = join(folder, `own-${boot}`);
          const printed = await runModern([
            "mkcomposefs",
            "--from-file",
            `--min-version=${imageFormat}`,
            "--print-digest",
            dumpFile,
            own,
          ]);
          assert.equal(printed.trim(), id);
          assert.deepEqual(readFileSync(own), readFileSync(image));
        });
      }

      await t.test("no byte of a file is on the disk twice", async () => {
        const objects = objectFiles(repository, fileObjects(repository));
        assert.ok(objects.length > 20, `${objects.length} objects`);
        assert.deepEqual(await filesOfTheirOwn(objects), []);
      });
    });
  });
}

function sourceOf(layout: OciLayout, image: Image, format: "oci" | "docker", folder: string): string {
  if (format === "oci") return `oci:${layout.folder}:${image.tag}`;
  const directory = join(folder, "docker");
  mkdirSync(directory);
  writeDirectoryImage(layout, image.tag, directory);
  return `dir:${directory}`;
}
