import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listMountedImage, runContainer, tryPodman } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree, expectedInOstree } from "./expected-tree.ts";

test("a Debian image is accepted by everyone who shares it", { timeout: 300_000 }, async (t) => {
  const { layout } = await debianImages();
  await using registry = await makeRegistry({ layouts: [layout] });
  await withFileSystem("xfs", { sizeMiB: 3072 }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const name = `${registry.address}/small:1`;
    const report = await onehold<PullReport>(sysroot, ["image", "pull", name, "--pin", "--tls-verify=false"]);
    const commit = report.ostree?.commit ?? "";
    const repository = join(sysroot, "ostree/repo");
    const additionalStore = join(sysroot, "ostree/bootc/storage");
    const checkout = join(folder, "checkout");

    await t.test("ostree fsck, of Debian 12 and of today", async () => {
      await runProgram("ostree", [`--repo=${repository}`, "fsck", "--verify-back-refs"]);
      await runModern(["ostree", `--repo=${repository}`, "fsck"]);
    });

    await t.test("the checkout equals what podman mounts", async () => {
      await runProgram("ostree", [`--repo=${repository}`, "checkout", commit, checkout]);
      const mounted = await listMountedImage({ additionalStore, image: name });
      assert.ok(mounted.length > 6000, `${mounted.length} names`);
      assertSameTree(await listTree(checkout), expectedInOstree(mounted));
    });

    await t.test("ostree's own commit of that tree has the same objects", async () => {
      const own = join(folder, "own-repo");
      await runProgram("ostree", [`--repo=${own}`, "init", "--mode=bare"]);
      await runProgram("ostree", [
        `--repo=${own}`,
        "commit",
        "--branch=own",
        "--no-bindings",
        `--tree=dir=${checkout}`,
      ]);
      const root = async (repo: string, rev: string) =>
        (await runProgram("ostree", [`--repo=${repo}`, "ls", "-R", "-C", rev])).split("\n").toSorted();
      assert.deepEqual(await root(repository, commit), await root(own, "own"));
    });

    for (const podman of ["system", "modern"] as const) {
      await t.test(`podman (${podman}) lists, inspects, mounts and runs it from the additional store`, async () => {
        const listed = await tryPodman(
          additionalStore,
          ["images", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ReadOnly}}"],
          podman,
        );
        assert.equal(listed.stdout.trim(), `${name} ${report.digest} true`, listed.stderr);
        const inspected = await tryPodman(
          additionalStore,
          ["image", "inspect", "--format", "{{.Digest}}", name],
          podman,
        );
        assert.equal(inspected.stdout.trim(), report.digest, inspected.stderr);
        const ran = await runContainer({ additionalStore, image: name, podman, argv: ["cat", "/etc/debian_version"] });
        assert.match(ran.stdout, /^12\.\d+\n$/, ran.stderr);
      });
    }

    await t.test("podman's own pull into the same store still works", async () => {
      // As bootc runs it: the paths in podman's database are those of its alias.
      const script = `mkdir -p /run/bootc && mount -t tmpfs tmpfs /run/bootc && mkdir /run/bootc/storage /run/bootc/run
mount --bind "$1" /run/bootc/storage && exec 3</run/bootc/run
podman --root /run/bootc/storage --runroot /proc/self/fd/3 pull --quiet --tls-verify=false "$2"`;
      await runProgram("unshare", [
        "--mount",
        "--propagation",
        "slave",
        "sh",
        "-euc",
        script,
        "sh",
        additionalStore,
        `${registry.address}/small:2`,
      ]);
      const listed = await tryPodman(additionalStore, ["images", "--quiet"]);
      assert.equal(listed.stdout.trim().split("\n").length, 2);
      const pulled = await onehold<PullReport>(sysroot, [
        "image",
        "pull",
        `${registry.address}/small:2`,
        "--tls-verify=false",
      ]);
      assert.equal(pulled.imageStore, "present");
      assert.equal(pulled.ostree?.state, "imported");
      assert.equal(pulled.ostree?.layers?.present, 2);
      await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
    });

    await t.test("pulling again changes nothing", async () => {
      const before = await listTree(join(sysroot, "onehold"));
      const refs = await runProgram("ostree", [`--repo=${repository}`, "refs", "--revision"]).catch(() => "");
      const again = await onehold<PullReport>(sysroot, ["image", "pull", name, "--pin", "--tls-verify=false"]);
      assert.deepEqual([again.imageStore, again.ostree?.state, again.bytes.fetched], ["present", "present", 0]);
      const stable = (files: typeof before) =>
        files.filter((file) => file.type === "file").map(({ path, mtime, sha256 }) => [path, mtime, sha256]);
      assert.deepEqual(stable(await listTree(join(sysroot, "onehold"))), stable(before));
      assert.equal(await runProgram("ostree", [`--repo=${repository}`, "refs", "--revision"]).catch(() => ""), refs);
    });

    await t.test("removing the image gives back what only it had", async () => {
      const pinned = await tryOnehold(sysroot, ["image", "remove", name]);
      assert.equal(pinned.status, 1);
      assert.match(pinned.stderr, /pinned/);
      await onehold(sysroot, ["image", "unpin", name]);
      await onehold(sysroot, ["image", "remove", name]);
      const removed = await onehold<{ ostree?: { objects: number; bytes: number } }>(sysroot, [
        "image",
        "remove",
        `${registry.address}/small:2`,
      ]);
      assert.ok((removed.ostree?.objects ?? 0) > 5000 && (removed.ostree?.bytes ?? 0) > 100e6, JSON.stringify(removed));
      assert.equal(await runProgram("ostree", [`--repo=${repository}`, "refs"]), "");
      const left = readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" }).filter((path) =>
        path.includes("."),
      );
      assert.deepEqual(left, []);
      assert.deepEqual(
        readdirSync(join(additionalStore, "overlay")).filter((entry) => /^[0-9a-f]{64}$/.test(entry)),
        [],
      );
    });
  });
});
