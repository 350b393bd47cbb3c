import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pullWithPodman, tryPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry, type Registry } from "#fixtures/registry.ts";
import { file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { boundUnits, deploymentsOf, installHost, type InstallReport, SmallImages } from "./small-hosts.ts";

async function withHostImage(
  run: (args: readonly string[], app: string, registry: Registry, folder: string) => Promise<void>,
): Promise<void> {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("targets");
  const images = new SmallImages(folder.path, registry);
  const app = `${registry.address}/app:1`;
  await images.push("app:1", [[file("app", "app")]]);
  await images.host("host:1", [...boundUnits({ "app.image": app }), file("etc/fstab", "# none")]);
  await run(["--source-imgref", `${registry.address}/host:1`, "--tls-verify=false"], app, registry, folder.path);
}

async function uuidOf(place: string): Promise<string> {
  const device = (await runProgram("findmnt", ["-no", "SOURCE", "--nofsroot", place])).trim();
  return (await runProgram("blkid", ["-p", "-s", "UUID", "-o", "value", device])).trim();
}

test("a /boot of its own: the kernel and the entry are there, and the host mounts it", {
  timeout: 120_000,
}, async () => {
  await withHostImage(async (args) => {
    await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
      await withFileSystem("ext4", { sizeMiB: 64 }, async (other) => {
        const boot = join(root, "boot");
        mkdirSync(boot);
        await runProgram("mount", ["--bind", other, boot]);
        try {
          mkdirSync(join(boot, "efi"));
          const uuid = await uuidOf(other);
          const { deployment, kernelArguments } = await installHost(root, args);
          assert.deepEqual(kernelArguments, [`root=UUID=${await uuidOf(root)}`, "rw", `boot=UUID=${uuid}`]);
          const [entry = ""] = readdirSync(join(other, "loader/entries"));
          const text = readFileSync(join(other, "loader/entries", entry), "utf8");
          const kernel = /^linux (\S+)$/m.exec(text)?.[1] ?? "";
          assert.equal(readFileSync(join(other, kernel), "utf8"), "no kernel", "by the path that a boot loader has");
          assert.equal(lstatSync(join(other, kernel)).dev, lstatSync(other).dev);
          const fstab = join(root, "ostree/deploy/default/deploy", deployment, "etc/fstab");
          assert.equal(readFileSync(fstab, "utf8"), `# none\nUUID=${uuid} /boot ext4 ro 0 2\n`);
          assert.equal((await deploymentsOf(root)).length, 1);
        } finally {
          await runProgram("umount", [boot]);
        }
      });
    });
  });
});

test("a subvolume of a Btrfs: the kernel is told of it", { timeout: 120_000 }, async () => {
  await withHostImage(async (args) => {
    await withFileSystem("btrfs", { sizeMiB: 400 }, async (top) => {
      await runProgram("btrfs", ["subvolume", "create", join(top, "host")]);
      const device = (await runProgram("findmnt", ["-no", "SOURCE", "--nofsroot", top])).trim();
      await using place = await makeTemporaryFolder("subvolume");
      const inside = await tryOnehold("/nonexistent", ["install", "to-filesystem", join(top, "host"), ...args]);
      assert.match(inside.stderr, /is not the top of a file system/);
      await runProgram("mount", ["-o", "subvol=host", device, place.path]);
      const { kernelArguments, ostree } = await installHost(place.path, args);
      assert.deepEqual(kernelArguments, [`root=UUID=${await uuidOf(top)}`, "rootflags=subvol=host", "rw"]);
      assert.equal(ostree.method, "reflink");
      assert.equal((await deploymentsOf(place.path)).length, 1);
    });
  });
});

test("bound images come from root's own store, or not at all", { timeout: 120_000 }, async () => {
  await withHostImage(async (args, app, registry, folder) => {
    const own = join(folder, "containers");
    mkdirSync(own);
    await pullWithPodman(join(own, "storage"), app);
    await runProgram("skopeo", ["delete", "--tls-verify=false", `docker://${app}`]);
    const prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /var/lib/containers && exec "$@"', own];
    for (const from of ["stored", "skip", "pull"] as const) {
      await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
        const install = ["install", "to-filesystem", root, ...args, "--bound-images", from];
        if (from === "pull") {
          const failed = await tryOnehold("/nonexistent", install, { prefix });
          assert.match(failed.stderr, /app:1 was not pulled/);
          assert.ok(!existsSync(join(root, "boot/loader")));
          return;
        }
        const { boundImages } = await onehold<InstallReport>("/nonexistent", install, { prefix });
        const there = await tryPodman(join(root, "ostree/bootc/storage"), ["image", "exists", app]);
        assert.deepEqual([boundImages.length, there.status], from === "stored" ? [1, 0] : [0, 1]);
      });
    }
    await registry.stop();
  });
});
