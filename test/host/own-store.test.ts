import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pullWithPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, addManifestList, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { directory, file, whiteout } from "#fixtures/tar-writer.ts";

test("an image of root's own store goes into ostree with the digest that it has there", {
  timeout: 120_000,
}, async () => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addLayer(layout, { entries: [directory("usr"), file("usr/a", "a"), file("usr/goes", "x")] });
    const top = await addLayer(layout, { entries: [whiteout("usr/goes"), file("usr/b", "b")] }, "zstd");
    const image = addImage(layout, { tag: "os:1", layers: [base, top] });
    const listed = addImage(layout, { tag: "listed:1", layers: [base] });
    const foreign = addImage(layout, { tag: "foreign:1", layers: [base], architecture: "s390x" });
    addManifestList(layout, "list:1", [foreign, listed]);
    await using registry = await makeRegistry({ layouts: [layout] });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");

    for (const [tag, expected] of [
      ["os:1", image],
      ["list:1", listed],
    ] as const) {
      const own = join(folder, `containers-of-${tag.split(":")[0]}`);
      mkdirSync(own);
      const prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /var/lib/containers && exec "$@"', own];
      const name = `${registry.address}/${tag}`;
      await pullWithPodman(join(own, "storage"), name);
      const pull = (reference: string) =>
        onehold<PullReport>(sysroot, ["image", "pull", reference, "--host", "--tls-verify=false"], { prefix });
      const report = await pull(`containers-storage:${name}`);
      assert.equal(report.digest, expected.manifestDigest);
      assert.equal(report.ostree?.state, "imported");
      const show = (key: string) =>
        runProgram("ostree", [
          `--repo=${repository}`,
          "show",
          `--print-metadata-key=${key}`,
          report.ostree?.commit ?? "",
        ]);
      assert.equal((await show("ostree.manifest-digest")).trim(), `'${expected.manifestDigest}'`);
      const refs = await runProgram("ostree", [`--repo=${repository}`, "refs", "--list", "ostree/container/blob"]);
      for (const { digest } of expected.layers) assert.ok(refs.includes(digest.replace(":", "_3A_")), refs);
      const again = await pull(`containers-storage:${name}`);
      assert.deepEqual([again.imageStore, again.ostree?.state], ["present", "present"]);
      // The registry has the same image, not another one.
      const pulled = await pull(name);
      assert.deepEqual([pulled.digest, pulled.ostree?.commit], [expected.manifestDigest, report.ostree.commit]);
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(images.find(({ names }) => names.includes(name))?.digest, expected.manifestDigest);
      await onehold(sysroot, ["image", "remove", name]);
      assert.deepEqual(await onehold(sysroot, ["image", "list"]), []);
    }
    await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
  });
});
