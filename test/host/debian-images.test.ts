import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { listMountedImage, pullWithPodman, runContainer } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { makeFileSystem } from "#fixtures/file-systems.ts";
import { blobPath, type Image, type OciLayout } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";

const MiB = 2 ** 20;

describe("Debian images", () => {
  test("share layers as an update and an app do, and are labelled where they boot", async () => {
    const { images, layout } = await debianImages();
    const layers = Object.fromEntries(
      Object.entries(images).map(([tag, image]) => [tag, image.layers.map((layer) => layer.digest)]),
    );
    const [base, programs, kernel, configuration, ...more] = layers["os:1"] ?? [];
    assert.ok(configuration !== undefined && more.length === 0, "four layers");
    assert.deepEqual(layers["os:2"]?.slice(0, -1), [base, programs, kernel, configuration]);
    assert.deepEqual(layers["small:2"]?.slice(0, -1), layers["small:1"]);
    assert.deepEqual([layers["app:1"]?.[0], layers["small:1"]?.[0]], [base, base]);
    for (const [tag, image] of Object.entries(images)) {
      const inspected = await runProgram("skopeo", ["inspect", `oci:${layout.folder}:${tag}`]);
      assert.equal(inspected.includes('"containers.bootc": "1"'), tag !== "app:1", tag);
      assert.match(inspected, new RegExp(`"Digest": "${image.manifestDigest}"`));
    }
  });

  test("os:1 is a system of a gigabyte, with a kernel where bootc wants it", async () => {
    const { images, layout } = await debianImages();
    const lines = await listLayers(layout, images["os:1"]);
    const files = lines.filter((line) => line.startsWith("-") && !line.includes("/.wh."));
    const bytes = files.reduce((sum, line) => sum + Number(line.split(/ +/)[2]), 0);
    assert.ok(bytes > 900 * MiB && bytes < 1100 * MiB, `${bytes} bytes`);
    assert.ok(files.length > 15_000 && files.length < 25_000, `${files.length} files`);
    const has = (pattern: RegExp) =>
      assert.ok(
        lines.some((line) => pattern.test(line)),
        String(pattern),
      );
    has(/ \.\/usr\/lib\/modules\/[^/]+\/vmlinuz$/);
    has(/ \.\/usr\/lib\/systemd\/systemd$| \.\/lib\/systemd\/systemd$/);
    has(/ \.\/usr\/share\/doc\/\.wh\.git$/);
    has(/ \.\/etc\/update-motd\.d\/\.wh\.\.wh\.\.opq$/);
    has(/^-rwsr-xr-x.* \.\/usr\/bin\/sudo$/);
    has(/^h.* link to /);
  });

  test("both releases of podman run and mount one of a store alike", async () => {
    const { layout } = await debianImages();
    await using registry = await makeRegistry({ layouts: [layout] });
    await using disk = await makeFileSystem("xfs", { sizeMiB: 1024 });
    const additionalStore = join(disk.mountPoint, "store");
    const image = `${registry.address}/small:2`;
    await pullWithPodman(additionalStore, image);
    const argv = ["sh", "-c", "cat /etc/motd; exit 3"];
    const old = await runContainer({ additionalStore, image, argv });
    const modern = await runContainer({ additionalStore, image, argv, podman: "modern" });
    for (const { status, stdout } of [old, modern]) assert.deepEqual([status, stdout], [3, "small, updated\n"]);

    const mounted = await listMountedImage({ additionalStore, image });
    const again = await listMountedImage({ additionalStore, image, podman: "modern" });
    // Inode numbers are each mount's own, and the tree's own times those of the mounting.
    const comparable = (files: typeof mounted) => files.slice(1).map(({ inode: _, ...file }) => file);
    assert.deepEqual(comparable(again), comparable(mounted));
    const paths = new Set<string>(mounted.map((file) => file.path));
    assert.ok(paths.has("usr/share/numbers") && !paths.has("etc/issue"));
    const numbers = mounted.find((file) => file.path === "usr/share/numbers");
    assert.equal(numbers?.sha256, (await runProgram("sh", ["-c", "seq 1 100000 | sha256sum"])).slice(0, 64));
  });
});

/** As `tar --list --verbose` prints them, all layers together. */
async function listLayers(layout: OciLayout, image: Image): Promise<string[]> {
  const list = (layer: Image["layers"][number]) =>
    runProgram("tar", ["--list", "--verbose", "--gzip", "--file", blobPath(layout, layer.digest)]);
  return (await Promise.all(image.layers.map(list))).flatMap((printed) => printed.trimEnd().split("\n"));
}
