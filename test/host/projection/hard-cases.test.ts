import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { listMountedImage } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, hardlink, opaque, sparse, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree, expectedInOstree } from "./expected-tree.ts";

/** A capability set (cap_net_raw=ep) and an ACL (user::rw-,user:7:r--,group::r--,mask::r--,other::---) as the kernel holds them. */
const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
const acl = Buffer.from(
  "02000000" + "01000600ffffffff" + "0200040007000000" + "04000400ffffffff" + "10000400ffffffff" + "20000000ffffffff",
  "hex",
);

const long = "n".repeat(255);
const deep = Array.from({ length: 120 }, (_, i) => `d${i}`).join("/");

const layers: readonly (readonly Entry[])[] = [
  [
    directory("./", { mode: 0o755 }),
    directory("usr"),
    directory("usr/bin"),
    file("usr/bin/su", "#!/bin/sh\n", { mode: 0o4755 }),
    file("usr/bin/ping", "ping", { mode: 0o755, xattrs: { "security.capability": capability } }),
    file("usr/bin/guarded", "guarded", { mode: 0o640, xattrs: { "system.posix_acl_access": acl } }),
    file("usr/bin/noted", "noted", {
      xattrs: { "user.origin": "here", "user.binary": Buffer.from([0, 255, 10]), "user.empty": "" },
    }),
    file("usr/bin/first", "linked", { uid: 1, gid: 2 }),
    hardlink("usr/bin/second", "usr/bin/first", { mode: 0o600, uid: 3, gid: 4 }),
    file("usr/empty", ""),
    file(`usr/${long}`, "long"),
    file(`usr/${deep}/leaf`, "leaf"),
    symlink("usr/loop-a", "loop-b"),
    symlink("usr/loop-b", "loop-a", { uid: 5, gid: 6 }),
    symlink("lib", "usr/lib"),
    directory("etc", { mode: 0o751 }),
    file("etc/passwd", "root\n"),
    file("etc/resolv.conf", ""),
    directory("run", { mode: 0o755 }),
    file("run/leftover", "x"),
    directory("tmp", { mode: 0o1777 }),
    directory("var/lib/things", { mode: 0o700, uid: 9, gid: 9 }),
    file("var/lib/things/one", "1"),
    directory("opt/opaque"),
    file("opt/opaque/old", "old"),
    file("opt/goes", "goes"),
    directory("opt/folder-goes"),
    file("opt/folder-goes/inner", "inner"),
    file("opt/becomes-directory", "file"),
    directory("opt/becomes-file", { mode: 0o711 }),
    file("opt/becomes-file/inner", "inner"),
    file("opt/kept", "kept"),
    file("usr/share/ümlaut 字", "names"),
    sparse("usr/sparse", 1 << 20, [{ offset: 4096, bytes: Buffer.from("piece") }]),
  ],
  [
    directory("opt/opaque", { mode: 0o750 }),
    opaque("opt/opaque"),
    file("opt/opaque/new", "new"),
    whiteout("opt/goes"),
    whiteout("opt/folder-goes"),
    directory("opt/becomes-directory", { mode: 0o711 }),
    file("opt/becomes-directory/inner", "now a directory"),
    file("opt/becomes-file", "now a file"),
    directory("var", { mode: 0o711, uid: 7 }),
    file("lib-implied/x/y", "implied parents"),
  ],
  [
    file("opt/becomes-directory", "a file again"),
    directory("opt/becomes-file", { mode: 0o700 }),
    file("opt/goes", "back"),
    directory("opt/opaque", { mode: 0o755 }),
    opaque("opt/opaque"),
    file("opt/opaque/newest", "newest"),
    directory("etc", { mode: 0o755 }),
    file("etc/passwd", "root\nuser\n", { uid: 1 }),
    whiteout("var/lib/things/one"),
  ],
];

for (const kind of ["xfs", "btrfs"] as const) {
  test(`an image of hard cases is the same in ostree and in podman (${kind})`, { timeout: 180_000 }, async () => {
    await withFileSystem(kind, { sizeMiB: 600 }, async (folder) => {
      const layout = makeOciLayout(join(folder, "layout"));
      const blobs = [];
      for (const entries of layers) blobs.push(await addLayer(layout, { entries }));
      addImage(layout, { tag: "hard", layers: blobs, labels: { "containers.bootc": "1" } });
      const sysroot = join(folder, "sysroot");
      await runProgram("mkdir", [sysroot]);

      const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:hard`]);

      const repository = join(sysroot, "ostree/repo");
      await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
      const checkout = join(folder, "checkout");
      assert.ok(report.ostree);
      await runProgram("ostree", [`--repo=${repository}`, "checkout", report.ostree.commit, checkout]);
      const additionalStore = join(sysroot, "ostree/bootc/storage");
      const mounted = await listMountedImage({ additionalStore, image: await nameOf(sysroot) });
      assert.ok(mounted.length > 150, `podman mounts ${mounted.length} names`);
      assertSameTree(await listTree(checkout), expectedInOstree(mounted));
      assert.equal(report.ostree.account?.copied.bytes, 0);
    });
  });
}

test("a marker at the root hides all layers below, as in ostree's own union of them", { timeout: 60_000 }, async () => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const lower = await addLayer(layout, { entries: [directory("opt"), file("opt/lower", "lower")] });
    const upper = await addLayer(layout, { entries: [file(".wh..wh..opq", ""), file("opt/upper", "upper")] });
    const image = addImage(layout, { tag: "1", layers: [lower, upper] });
    const sysroot = join(folder, "sysroot");
    await runProgram("mkdir", [sysroot]);
    const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:1`, "--host"]);
    const ostree = (...args: string[]) => runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, ...args]);
    await ostree("checkout", report.ostree?.commit ?? "", join(folder, "merged"));
    for (const { digest } of image.layers) {
      const ref = `ostree/container/blob/${digest.replace(":", "_3A_")}`;
      await ostree("checkout", "--union", "--whiteouts", ref, join(folder, "union"));
    }
    const merged = await listTree(join(folder, "merged"));
    assert.deepEqual(
      merged.map(({ path }) => path),
      ["", "opt", "opt/upper"],
    );
    assertSameTree(merged, await listTree(join(folder, "union")));
    // The kernel passes over the mark on a layer's root: podman shows more than the image says.
    const additionalStore = join(sysroot, "ostree/bootc/storage");
    const mounted = await listMountedImage({ additionalStore, image: await nameOf(sysroot) });
    assert.ok(mounted.some(({ path }) => path === "opt/lower"));
  });
});

async function nameOf(sysroot: string): Promise<string> {
  const [image] = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
  assert.ok(image?.image);
  return image.image;
}
