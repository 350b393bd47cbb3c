import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { byteStringOfText } from "#base/bytes.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { directory, type Entry, file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { getXattr } from "#linux/xattr.ts";
import { debianPolicy } from "../selinux/debian-policy.ts";
import { askLibselinux } from "../selinux/libselinux.ts";
import { boundUnits, installHost, SmallImages } from "./small-hosts.ts";

before(() => ensurePackages(["selinux-utils", "policycoreutils"]));

const containerRules = `
/var/lib/containers(/.*)? system_u:object_r:container_var_lib_t:s0
/var/lib/containers/storage/overlay(/.*)? system_u:object_r:container_ro_file_t:s0
/var/lib/containers/storage/overlay-images(/.*)? system_u:object_r:container_ro_file_t:s0
/var/lib/containers/storage/overlay-layers(/.*)? system_u:object_r:container_ro_file_t:s0
`;

/** What a host's image has of a policy, without the modules that it was made of. */
function policyEntries(folder: string): Entry[] {
  const names = readdirSync(join(folder, "etc/selinux"), { recursive: true, encoding: "utf8" });
  const entries = names.toSorted().map((name) => {
    const place = join(folder, "etc/selinux", name);
    return statSync(place).isDirectory()
      ? directory(`etc/selinux/${name}`)
      : file(`etc/selinux/${name}`, readFileSync(place));
  });
  return [directory("etc/selinux"), ...entries];
}

test("on a host with a policy, the image store has the labels of podman's own", { timeout: 180_000 }, async () => {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("labels");
  const policy = join(folder.path, "policy");
  cpSync(await debianPolicy(), policy, { recursive: true });
  // Debian's policy knows nothing of containers.
  writeFileSync(join(policy, "etc/selinux/default/contexts/files/file_contexts.local"), containerRules);
  const images = new SmallImages(folder.path, registry);
  await images.push("app:1", [[directory("usr"), file("usr/app", "app")]]);
  await images.host("host:1", [...policyEntries(policy), ...boundUnits({ "app.image": `${registry.address}/app:1` })]);
  await withFileSystem("xfs", { sizeMiB: 500 }, async (root) => {
    await installHost(root, ["--source-imgref", `${registry.address}/host:1`, "--tls-verify=false"]);
    const store = join(root, "ostree/bootc/storage");
    const entries = readdirSync(store, { recursive: true, withFileTypes: true });
    const files = entries.map((entry) => ({
      path: join(entry.parentPath, entry.name),
      type: entry.isDirectory() ? ("d" as const) : entry.isSymbolicLink() ? ("l" as const) : ("-" as const),
    }));
    assert.ok(files.length > 100);
    const all = [{ path: store, type: "d" as const }, ...files];
    const asked = all.map(({ path, type }) => ({ path: path.replace(store, "/var/lib/containers/storage"), type }));
    const expected = await askLibselinux(join(policy, "etc/selinux/default/contexts/files"), asked);
    const labels = all.map(({ path }) => {
      const value = getXattr({ path: Buffer.from(path) }, byteStringOfText("security.selinux"));
      return value === undefined ? "<<none>>" : value.toString("latin1").replace(/\0$/, "");
    });
    const stamp = all.findIndex(({ path }) => path.endsWith("/.bootc_labeled"));
    assert.ok(stamp > 0, "bootc sees that it is labelled");
    for (const list of [expected, labels]) list.splice(stamp, 1);
    assert.deepEqual(labels, expected);
    const types = new Set(labels.map((label) => label.split(":")[2]));
    assert.ok(types.has("container_ro_file_t") && types.has("container_var_lib_t"), [...types].join());
    const aleph = JSON.parse(readFileSync(join(root, ".bootc-aleph.json"), "utf8")) as { selinux: string };
    assert.equal(aleph.selinux, "enabled");
    await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);
  });
});
