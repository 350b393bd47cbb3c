import assert from "node:assert/strict";
import { lstatSync, mkdirSync, readdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file, hardlink } from "#fixtures/tar-writer.ts";
import { noise } from "./hard-image.ts";
import { assertSound, assertStreams, blocksOf, fileObjects, objectFiles, snapshot, usedBytes } from "./repository.ts";

interface UsageReport {
  readonly stores: readonly {
    readonly store: string;
    readonly shared: number;
    readonly exclusive: number;
    readonly copied: number;
  }[];
}

const top = ["boot", "run", "sysroot", "usr"].map((name) => directory(name, { mtime: 5 }));
const shareable = noise(500_000, "shareable");
/** Gets a label on its inode in podman's store, as on an SELinux host: ostree's object must not have it. */
const labelled = noise(300_000, "labelled");

test("without reflinks, composefs hardlinks every file, ostree what it can", { timeout: 180_000 }, async (t) => {
  await withFileSystem("ext4", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const layer = await addLayer(layout, {
      entries: [
        ...top,
        file("usr/shareable", shareable, { mode: 0o4711, uid: 3, gid: 4, mtime: 1000 }),
        hardlink("usr/linked", "usr/shareable", { mode: 0o4711, uid: 3, gid: 4, mtime: 1000 }),
        file("usr/labelled", labelled, { mode: 0o600, uid: 5, mtime: 1001 }),
        file("usr/twin", labelled, { mode: 0o640, mtime: 1002 }),
        file("usr/small", "small"),
        file("usr/empty"),
      ],
    });
    const image = addImage(layout, { tag: "1", layers: [layer] });
    const source = `oci:${layout.folder}:1`;
    const diffOf = (sysroot: string) => join(sysroot, "ostree/bootc/storage/overlay", hexOf(layer.diffId), "diff/usr");
    const makeSysroot = async (name: string, backend: string) => {
      const sysroot = join(folder, name);
      mkdirSync(sysroot);
      await onehold(sysroot, ["init", "--backend", backend, "--insecure"]);
      await onehold(sysroot, ["image", "pull", source]);
      for (const each of ["labelled", "twin"])
        await runProgram("setfattr", [
          "-n",
          "security.selinux",
          "-v",
          "system_u:object_r:x_t:s0",
          join(diffOf(sysroot), each),
        ]);
      return sysroot;
    };
    const stateOf = (sysroot: string) =>
      readdirSync(diffOf(sysroot)).map((name) => {
        const { mode, uid, gid, mtimeNs, ino } = lstatSync(join(diffOf(sysroot), name), { bigint: true });
        return { name, mode, uid, gid, mtimeNs, ino };
      });

    await t.test("composefs alone", async () => {
      const sysroot = await makeSysroot("alone", "composefs");
      const repository = join(sysroot, "composefs");
      const before = stateOf(sysroot);
      const used = await usedBytes(folder);
      const { composefs } = await onehold<PullReport>(sysroot, ["image", "pull", source, "--host"]);
      const { reflinked, hardlinked, copied, present } = composefs?.account ?? {};
      assert.deepEqual([reflinked?.files, copied?.files], [0, 0]);
      assert.deepEqual(hardlinked, { files: 2, bytes: shareable.length + labelled.length });
      assert.deepEqual(present, { files: 1, bytes: labelled.length });
      assert.deepEqual(stateOf(sysroot), before, "podman's files are as they were");
      // Folders of objects, two images of 16 KiB and more, streams.
      assert.ok((await usedBytes(folder)) - used < 1_500_000);
      const objects = objectFiles(repository, fileObjects(repository));
      const inodes = new Set(before.map(({ ino }) => ino));
      for (const object of objects) assert.ok(inodes.has(lstatSync(object, { bigint: true }).ino), object);
      assertStreams(repository, layout, image, source);
      await assertSound(repository);
      const { stores } = await onehold<UsageReport>(sysroot, ["usage"]);
      assert.deepEqual(
        stores.map(({ store, copied: bytes }) => [store, bytes]),
        [
          ["image store", 0],
          ["composefs", 0],
        ],
      );
      assert.equal(stores[1]?.shared, await blocksOf(objects));
      await onehold(sysroot, ["image", "remove", source]);
      assert.deepEqual([...snapshot(join(repository, "objects")).keys()], []);
      for (const name of ["streams", "images"]) assert.deepEqual([...snapshot(join(repository, name)).keys()], []);
    });

    await t.test(
      "both: what ostree can't share is refused, and neither store is changed; then it is copied",
      async () => {
        const sysroot = await makeSysroot("both", "both");
        const repository = join(sysroot, "composefs");
        const ostree = join(sysroot, "ostree/repo");
        const files = [repository, join(ostree, "objects"), join(ostree, "refs")];
        const before = files.map(snapshot);
        const refused = await tryOnehold(sysroot, ["image", "pull", source, "--host"]);
        assert.equal(refused.status, 1);
        assert.match(refused.stderr, /hardlinked into the ostree repository/);
        assert.match(refused.stderr, /hardlinked into the composefs repository/);
        assert.match(refused.stderr, /2 files \(600.0 kB\) .* can't be shared .*: the file system has no reflinks/);
        assert.deepEqual(files.map(snapshot), before);
        const [listed] = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
        assert.deepEqual(listed?.stores, ["image store"]);

        const inodes = stateOf(sysroot);
        const used = await usedBytes(folder);
        const report = await onehold<PullReport>(sysroot, ["image", "pull", source, "--host", "--allow-copy"]);
        const growth = (await usedBytes(folder)) - used;
        assert.deepEqual(report.ostree?.account?.hardlinked, { files: 2, bytes: shareable.length + "small".length });
        assert.deepEqual(report.composefs?.account?.hardlinked.bytes, shareable.length + labelled.length);
        assert.equal(report.composefs.account.copied.files, 0);
        const copied = report.ostree.account.copied.bytes;
        assert.equal(copied, labelled.length * 2, "of two owners: two objects");
        assert.ok(growth > copied && growth < copied + 3_000_000, `${growth} bytes`);
        assert.deepEqual(stateOf(sysroot), inodes);
        const { stores } = await onehold<UsageReport>(sysroot, ["usage"]);
        const { bsize } = statfsSync(folder);
        const roundedUp = Math.ceil(labelled.length / bsize) * bsize;
        assert.deepEqual(
          stores.map(({ store, copied: bytes }) => [store, bytes]),
          [
            ["image store", 0],
            ["ostree", roundedUp * 2],
            ["composefs", 0],
          ],
        );
        const objects = objectFiles(repository, fileObjects(repository));
        assert.equal(stores[2]?.shared, await blocksOf(objects));
        await assertSound(repository);
        await runProgram("ostree", [`--repo=${ostree}`, "fsck", "--quiet"]);
      },
    );
  });
});
