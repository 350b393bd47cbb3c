import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { withMountedImage } from "#fixtures/containers.ts";
import { type FileSystem, makeFileSystem } from "#fixtures/file-systems.ts";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { flipBit } from "../composefs/images.ts";
import { type PulledImage, pullHostImage } from "./pulled-image.ts";

let disk: FileSystem;
let image: PulledImage;

before(async () => {
  disk = await makeFileSystem("xfs", { sizeMiB: 600 });
  image = await pullHostImage(disk.mountPoint);
});
after(() => disk[Symbol.asyncDispose]());

test("the digest of what podman mounts is that of the image that boots", async () => {
  const program = join(import.meta.dirname, "../../../bin/onehold");
  const verb = "container compute-composefs-digest";
  const printed = await withMountedImage(
    { additionalStore: join(image.sysroot, "ostree/bootc/storage"), image: image.name },
    `'${program}' --quiet ${verb} "$mounted" --write-dumpfile-to ${image.sysroot}/computed.dump`,
  );
  const dump = await tryOnehold(image.sysroot, ["internals", "composefs", "dump", image.reference, "--bootable"]);
  const { readFileSync } = await import("node:fs");
  assert.equal(readFileSync(`${image.sysroot}/computed.dump`, "latin1"), dump.stdout);
  assert.equal(printed, `${image.images["composefs.image.boot.v1"]}\n`);
});

test("fsck", async () => {
  console.log(await tryOnehold(image.sysroot, ["internals", "composefs", "fsck"]));
  console.log(await tryOnehold(image.sysroot, ["internals", "composefs", "info", image.reference]));
});
