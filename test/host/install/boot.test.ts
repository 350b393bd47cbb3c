import assert from "node:assert/strict";
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { bootableImages } from "#fixtures/bootable-images.ts";
import { bootHost, chooseBootEntry } from "#fixtures/booted-host.ts";
import { makeFileSystem } from "#fixtures/file-systems.ts";
import { noGuests } from "#fixtures/guest.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeTemporaryFolder, unmount } from "#fixtures/temporary-folders.ts";
import { filesOfTheirOwn } from "../backend/repository.ts";
import { installHost } from "./small-hosts.ts";

test("an installed Debian boots", { timeout: 600_000, skip: noGuests }, async () => {
  await using folder = await makeTemporaryFolder("bootable");
  const { layout } = await bootableImages(folder.path);
  await using registry = await makeRegistry({ layouts: [layout] });
  await using disk = await makeFileSystem("xfs", { sizeMiB: 1500 });
  const image = `${registry.address}/host:1`;
  const report = await installHost(disk.mountPoint, [
    "--source-imgref",
    image,
    "--tls-verify=false",
    "--karg",
    "test=karg",
  ]);
  const objects = join(disk.mountPoint, "ostree/repo/objects");
  const files = readdirSync(objects, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".file"));
  const withContent = files
    .map((name) => ({ name: join(objects, name), stat: lstatSync(join(objects, name)) }))
    .filter(({ stat }) => stat.isFile() && stat.size > 0);
  assert.ok(withContent.length > 3000, `${withContent.length} objects`);
  assert.deepEqual(await filesOfTheirOwn(withContent.map(({ name }) => name)), [], "no second copy of any file");
  const choice = chooseBootEntry(disk.mountPoint);
  await unmount(disk.mountPoint);
  const said = await bootHost(disk.imageFile, choice, 120);
  const part = (name: string) => said.get(name) ?? "";
  assert.equal(part("version"), "1");
  // Of the image's kargs.d, and ours.
  assert.match(part("cmdline"), /^root=UUID=\S+ rw console=ttyS0 systemd.show_status=0 test=karg ostree=/);
  assert.match(part("status"), new RegExp(`^\\* default ${report.ostree.commit}\\.0`));
  const deployment = `/ostree/deploy/default/deploy/${report.deployment}`;
  assert.ok(part("root").startsWith(`/dev/vda[${deployment}] `), part("root"));
  assert.match(part("etc"), new RegExp(`^/dev/vda\\[${deployment}/etc\\] rw,`));
  assert.match(part("var"), /^\/dev\/vda\[\/ostree\/deploy\/default\/var\] rw,/);
  assert.match(part("sysroot"), /^\/dev\/vda ro,/);
  assert.match(part("writable"), /Read-only file system/);
  assert.equal(part("booted"), "/run/ostree-booted");
  assert.equal(part("store"), "/usr/lib/bootc/storage/overlay-images/images.json");
  assert.equal(part("state"), "from the image");
  assert.equal(part("failed"), "");
  const { status } = JSON.parse(part("onehold")) as {
    readonly status: { readonly booted: { readonly image: { readonly imageDigest: string; readonly image: unknown } } };
  };
  assert.equal(status.booted.image.imageDigest, report.digest);
  assert.deepEqual(status.booted.image.image, { image, transport: "registry" });
});
