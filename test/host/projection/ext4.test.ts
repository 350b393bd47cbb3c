import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file, hardlink } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree, expectedInOstree } from "./expected-tree.ts";

/** Gets a label on its inode in podman's store, as on an SELinux host; the image has none, so the inode can't serve both. */
const unshareable = randomBytes(300_000);
const shareable = randomBytes(500_000);

test("without reflinks, files are hardlinked where their inode is right; the rest is refused, or copied when asked", {
  timeout: 120_000,
}, async () => {
  await withFileSystem("ext4", { sizeMiB: 300 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const layer = await addLayer(layout, {
      entries: [
        directory("usr"),
        file("usr/shareable", shareable, { mode: 0o755, uid: 3 }),
        hardlink("usr/linked", "usr/shareable", { mode: 0o755, uid: 3 }),
        file("usr/unshareable", unshareable),
        file("usr/twin", unshareable),
        file("usr/empty", ""),
      ],
    });
    addImage(layout, { tag: "1", layers: [layer] });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");

    await onehold(sysroot, ["image", "pull", `oci:${layout.folder}:1`]);
    const diff = join(sysroot, "ostree/bootc/storage/overlay", hexOf(layer.diffId), "diff/usr");
    for (const name of ["unshareable", "twin"]) {
      await runProgram("setfattr", [
        "-n",
        "security.selinux",
        "-v",
        "system_u:object_r:container_ro_file_t:s0",
        join(diff, name),
      ]);
    }

    const pull = ["image", "pull", "--host", `oci:${layout.folder}:1`];
    const refused = await tryOnehold(sysroot, pull);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /1 file \(300.0 kB\) .* can't be shared .*: the file system has no reflinks/);
    assert.match(refused.stderr, /--allow-copy .* \(300000 bytes\) more/);
    assert.equal(objectsIn(repository).length, 0, "a refusal leaves no object");
    assert.equal(await runProgram("ostree", [`--repo=${repository}`, "refs"]), "");
    const [listed] = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
    assert.deepEqual(listed?.stores, ["image store"]);
    assert.match(listed?.notes.join() ?? "", /not in ostree: .*can't be shared/);

    const before = await blocks(folder);
    const report = await onehold<PullReport>(sysroot, [...pull, "--allow-copy"]);
    const account = report.ostree?.account;
    assert.deepEqual(account?.reflinked, { files: 0, bytes: 0 }, "an empty file has nothing to share");
    assert.deepEqual(account?.hardlinked, { files: 1, bytes: shareable.length });
    assert.deepEqual(account?.copied, { files: 1, bytes: unshareable.length });
    assert.deepEqual(account?.present, { files: 1, bytes: unshareable.length });
    // Directories, symlinks and metadata take blocks too: a few for each object, no second copy of the shareable file.
    const growth = (await blocks(folder)) - before;
    assert.ok(growth >= unshareable.length && growth < unshareable.length + 1_600_000, `${growth} bytes of blocks`);

    await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
    assert.deepEqual(
      objectsIn(repository)
        .filter((object) => object.endsWith(".file"))
        .map((object) => statSync(object).nlink)
        .toSorted((a, b) => a - b),
      [1, 1, 3],
      "the copy and the empty file have inodes of their own, the shareable file is podman's with its two names",
    );
    assert.ok(report.ostree);
    await runProgram("ostree", [`--repo=${repository}`, "checkout", report.ostree.commit, join(folder, "checkout")]);
    const mounted = await listMountedImage({
      additionalStore: join(sysroot, "ostree/bootc/storage"),
      image: listed?.names[0] ?? "",
    });
    // The label is the host's, not the image's.
    const unlabelled = mounted.map((each) => {
      const { "security.selinux": _, ...xattrs } = each.xattrs ?? {};
      return { ...each, xattrs };
    });
    assertSameTree(await listTree(join(folder, "checkout")), expectedInOstree(unlabelled));
  });
});

function objectsIn(repository: string): string[] {
  const objects = join(repository, "objects");
  if (!existsSync(objects)) return [];
  return readdirSync(objects, { recursive: true, encoding: "utf8" })
    .map((name) => join(objects, name))
    .filter((path) => statSync(path).isFile());
}

async function blocks(folder: string): Promise<number> {
  await runProgram("sync", ["-f", folder]);
  const [size = 0, free = 0, unit = 0] = (await runProgram("stat", ["-f", "-c", "%b %f %S", folder]))
    .split(" ")
    .map(Number);
  return (size - free) * unit;
}
