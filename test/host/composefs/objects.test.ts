import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type FileSystemKind, withFileSystem } from "#fixtures/file-systems.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { type ObjectId, objectIdOf } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { openDirectory, openFile } from "#linux/descriptor.ts";
import { contentBelow, DeviceMap } from "#sharing/extents-of-files.ts";
import { probeSharing } from "#sharing/probe.ts";
import { objectFile } from "#stores/composefs/objects.ts";
import { createRepository, defaultSettings, type Repository } from "#stores/composefs/repository.ts";
import { makeStaging, publishStaged, targetOf } from "#stores/composefs/staging.ts";
import { type ObjectPolicy, type ObjectTarget, storeObject } from "#stores/composefs/store-object.ts";

const contents = {
  small: Buffer.from("x".repeat(65)),
  block: randomBytes(4096),
  large: randomBytes(3_000_001),
  empty: Buffer.alloc(0),
};
const idOf = (bytes: Buffer) => objectIdOf(verityDigest("sha512", bytes));

/** Gives a file of `folder` to the staging folder, as a worker does. */
function storeOne(target: ObjectTarget, folder: string, name: string, policy: ObjectPolicy) {
  using directory = openDirectory(folder);
  using source = openFile(join(folder, name), 0);
  const id = idOf(readFileSync(join(folder, name)));
  return storeObject(
    target,
    { directoryFd: directory.fd, path: Buffer.from(name), fd: source.fd, stat: fstatSync(source.fd) },
    id,
    policy,
  );
}

function makePlaces(root: string): { files: string; repository: Repository } {
  const files = join(root, "files");
  mkdirSync(files);
  for (const [name, bytes] of Object.entries(contents)) {
    writeFileSync(join(files, name), bytes);
    chownSync(join(files, name), 1000, 1001);
    chmodSync(join(files, name), 0o4711);
  }
  return { files, repository: createRepository(join(root, "composefs"), { ...defaultSettings, verity: "no" }) };
}

const expected = { xfs: "reflinked", btrfs: "reflinked", ext4: "hardlinked" } as const;

for (const kind of ["xfs", "btrfs", "ext4"] as const satisfies readonly FileSystemKind[]) {
  test(`${kind}: a layer's files become objects without a new block, ${expected[kind]}`, async () => {
    await withFileSystem(kind, { sizeMiB: 300 }, (root) => {
      const { files, repository } = makePlaces(root);
      const { method } = probeSharing(files, join(repository.path, "objects"));
      const policy = { method, allowCopy: false, sealSources: false };
      const before = Object.keys(contents).map((name) => statSync(join(files, name)));
      {
        using staging = makeStaging(repository);
        const target = targetOf(repository, staging);
        for (const name of ["small", "block", "large"] as const) {
          assert.equal(storeOne(target, files, name, policy), expected[kind]);
          assert.equal(storeOne(target, files, name, policy), "present", "staged already");
        }
        assert.equal(storeOne(target, files, "empty", policy), "reflinked", "nothing to share");
        assert.deepEqual(publishStaged(repository, staging), { published: 4 });
        assert.equal(storeOne(target, files, "block", policy), "present", "published");
      }
      for (const [i, [name, bytes]] of Object.entries(contents).entries()) {
        const file = objectFile(repository, idOf(bytes));
        assert.deepEqual(readFileSync(file), bytes);
        const [stat, source] = [statSync(file), statSync(join(files, name))];
        const linked = kind === "ext4" && bytes.length > 0;
        assert.equal(stat.ino === source.ino, linked);
        if (!linked) assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid], [0o644, 0, 0]);
        // A hardlink has podman's metadata, which nothing here may touch.
        for (const key of ["mode", "uid", "gid", "size", "mtimeMs"] as const)
          assert.equal(source[key], before[i]?.[key]);
      }
      const devices = new DeviceMap();
      const objects = contentBelow(join(repository.path, "objects"), devices).ranges;
      const missing = objects.without(contentBelow(files, devices).ranges).bytes;
      assert.equal(missing, 0, "bytes of objects that no file of the layer has");
      assert.deepEqual(readdirSync(repository.path).toSorted(), ["meta.json", "objects"]);
    });
  });
}

test("across file systems files are refused, or copied where that is allowed", async () => {
  await using folder = await makeTemporaryFolder("composefs-objects");
  await withFileSystem("xfs", { sizeMiB: 300 }, (root) => {
    const { files } = makePlaces(folder.path);
    const repository = createRepository(join(root, "composefs"), { ...defaultSettings, verity: "no" });
    const { method } = probeSharing(files, join(repository.path, "objects"));
    using staging = makeStaging(repository);
    const target = targetOf(repository, staging);
    assert.equal(storeOne(target, files, "large", { method, allowCopy: false, sealSources: false }), "refused");
    assert.deepEqual(publishStaged(repository, staging), { published: 0 });
    assert.equal(storeOne(target, files, "large", { method, allowCopy: true, sealSources: false }), "copied");
    assert.deepEqual(publishStaged(repository, staging), { published: 1 });
    assert.deepEqual(readFileSync(objectFile(repository, idOf(contents.large))), contents.large);
  });
});

test("where fs-verity is demanded, podman's files are not linked: they would get it too", async () => {
  await withFileSystem("ext4", { sizeMiB: 300 }, (root) => {
    const { files, repository } = makePlaces(root);
    using staging = makeStaging(repository);
    const target = { ...targetOf(repository, staging), secure: true };
    const policy = { method: "hardlink", allowCopy: false } as const;
    assert.equal(storeOne(target, files, "block", { ...policy, sealSources: false }), "refused");
    assert.equal(statSync(join(files, "block")).nlink, 1);
    // This file system has none, so that nothing can be sealed: that is said, not passed over.
    for (const change of [{ sealSources: true }, { sealSources: false, allowCopy: true }]) {
      assert.throws(() => storeOne(target, files, "block", { ...policy, ...change }), { code: "unsupported" });
    }
  });
});

test("an object that is not of its size is damage, and not taken for present", async () => {
  await withFileSystem("xfs", { sizeMiB: 300 }, (root) => {
    const { files, repository } = makePlaces(root);
    const policy = { method: "reflink", allowCopy: false, sealSources: false } as const;
    using staging = makeStaging(repository);
    const target = targetOf(repository, staging);
    storeOne(target, files, "block", policy);
    publishStaged(repository, staging);
    truncateSync(objectFile(repository, idOf(contents.block)), 0);
    assert.throws(() => storeOne(target, files, "block", policy), { code: "corrupt" });
  });
});

test("mkcomposefs puts the same objects into the same places", { timeout: 120_000 }, async () => {
  await withFileSystem("xfs", { sizeMiB: 300 }, async (root) => {
    const files = join(root, "files");
    mkdirSync(files);
    for (const [name, bytes] of Object.entries(contents)) writeFileSync(join(files, name), bytes);
    const store = join(root, "store");
    mkdirSync(store);
    await runModern(["mkcomposefs", `--digest-store=${store}`, files, join(root, "image")]);
    const theirs = readdirSync(store, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath.slice(store.length + 1), entry.name));
    const ours = Object.values(contents)
      .filter((bytes) => bytes.length > 64)
      .map((bytes) =>
        objectFile({ path: "" } as Repository, objectIdOf(verityDigest("sha256", bytes)) satisfies ObjectId),
      );
    assert.deepEqual(theirs.toSorted(), ours.map((file) => file.slice("objects/".length)).toSorted());
  });
});
