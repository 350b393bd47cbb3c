import assert from "node:assert/strict";
import { mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { readDeployments } from "#boot/deployments.ts";
import { serializeMetadata } from "#formats/ostree-metadata.ts";
import { hostStatus } from "#host/status.ts";
import { openSysroot } from "#host/sysroot.ts";
import { bootInto } from "./booted-root.ts";
import { deployedName, type DeployedSysroot, deployVersions, withSysroot } from "#fixtures/deployed-sysroot.ts";
import { assertValid, seenBy, seenInJson, seenInText } from "./referees.ts";

const statusOf = (path: string, hostRoot: string) => {
  const host = hostStatus(openSysroot(path), { bootedOnly: false, bytes: false, hostRoot });
  assertValid(host);
  assert.deepEqual(host.status.onehold.problems, []);
  return host.status;
};

for (const release of ["bookworm", "modern"] as const) {
  test(`a sysroot that is not booted, as the ostree of ${release} has it`, async () => {
    await withSysroot(release, async (sysroot) => {
      const agree = async () => {
        const theirs =
          release === "modern"
            ? seenInJson(await sysroot.admin("status", "--json"))
            : seenInText(await sysroot.admin("status"));
        assert.deepEqual(seenBy(readDeployments(sysroot.path, "/")), theirs);
        assert.equal(statusOf(sysroot.path, "/").otherDeployments?.length ?? 0, theirs.length);
        return theirs;
      };
      assert.deepEqual(await agree(), []);
      await deployVersions(sysroot, [1, 2, 3]);
      assert.equal((await agree()).length, 3);
      await sysroot.admin("pin", "1");
      assert.deepEqual(
        (await agree()).map(({ pinned }) => pinned),
        [false, true, false],
      );
      await sysroot.admin("os-init", "other");
      const { commit } = await sysroot.pull(1);
      await sysroot.deploy(commit, deployedName(1), "--os=other");
      await sysroot.deploy(commit, deployedName(1), "--os=other");
      assert.deepEqual((await agree()).map(({ stateroot, serial }) => `${stateroot} ${serial}`).toSorted(), [
        "default 0",
        "default 0",
        "default 0",
        "other 0",
        "other 1",
      ]);
      await sysroot.admin("undeploy", "0");
      await agree();
      const { otherDeployments = [] } = statusOf(sysroot.path, "/");
      assert.ok(otherDeployments.some(({ onehold }) => onehold.kernelArguments.includes("version=2")));
      // Debian 12's can't do it where the origin is a container image.
      if (release === "bookworm") return;
      await sysroot.admin("set-origin", "--index=0", "elsewhere", "http://registry.example/", "os/stable");
      await agree();
      const [first] = statusOf(sysroot.path, "/").otherDeployments ?? [];
      assert.deepEqual([first?.image, first?.store], [null, null]);
    });
  });
}

test("while ostree deploys and removes: at every moment what there was, or what there is", async () => {
  await withSysroot("modern", async (sysroot) => {
    const [first = { commit: "" }] = await deployVersions(sysroot, [1, 3]);
    let looks = 0;
    const look = async (change: Promise<unknown>, counts: readonly number[]) => {
      let done = false;
      const ended = change.finally(() => {
        done = true;
      });
      while (!done) {
        const { deployments, problems } = readDeployments(sysroot.path, "/");
        assert.deepEqual(problems, []);
        assert.ok(counts.includes(deployments.length), `${deployments.length} deployments`);
        looks += 1;
        await setImmediate();
      }
      await ended;
    };
    for (const _ of [1, 2]) {
      await look(sysroot.deploy(first.commit, deployedName(1), "--os=default"), [2, 3]);
      await look(sysroot.admin("undeploy", "0"), [2, 3]);
    }
    assert.ok(looks > 100, `${looks} looks`);
  });
});

test("a booted host: booted, staged, locked and rollback deployments, as ostree has them", async () => {
  await withSysroot("modern", async (sysroot) => {
    const [, second = "", third = ""] = (await deployVersions(sysroot, [1, 2, 3])).map(({ commit }) => commit);
    const deployed = readDeployments(sysroot.path, "/").deployments;
    const argument = deployed[1]?.kernelArguments.find((each) => each.startsWith("ostree="))?.slice("ostree=".length);
    const root = await bootInto(sysroot.folder, sysroot.path, argument ?? "");
    const agree = async () => {
      const theirs = seenInJson(await root.ostree("admin", "status", "--json"));
      assert.deepEqual(seenBy(readDeployments(sysroot.path, root.path)), theirs);
      return statusOf(sysroot.path, root.path);
    };
    // The third was deployed after the one that is booted: it is what bootc calls a rollback that is queued.
    const queued = await agree();
    assert.equal(queued.booted?.ostree.checksum, second);
    assert.equal(queued.rollback?.ostree.checksum, third);
    assert.deepEqual([queued.rollbackQueued, queued.type, queued.staged], [true, "bootcHost", null]);
    await sysroot.admin("undeploy", "0");
    assert.equal((await agree()).rollbackQueued, false);
    const origin = `--origin-file=/sysroot/ostree/deploy/default/deploy/${second}.0.origin`;
    await root.ostree("admin", "deploy", "--stage", "--no-prune", origin, "--karg-append=staged", third);
    const staged = await agree();
    assert.equal(staged.staged?.ostree.checksum, third);
    assert.ok(staged.staged?.onehold.kernelArguments.includes("staged"));
    assert.equal(staged.staged.downloadOnly, false);
    assert.equal(staged.otherDeployments, undefined);
    await root.ostree("admin", "lock-finalization");
    assert.equal((await agree()).staged?.downloadOnly, true);
    // Not the same host's: nothing of it is booted or staged there.
    assert.equal(statusOf(sysroot.path, "/").booted, null);
    const onlyBooted = hostStatus(openSysroot(sysroot.path), { bootedOnly: true, bytes: false, hostRoot: root.path });
    assertValid(onlyBooted);
    assert.deepEqual([onlyBooted.status.staged, onlyBooted.status.rollback], [null, null]);
    assert.equal(onlyBooted.status.booted?.ostree.checksum, second);
    // What bootc calls the spec's image is the staged one's.
    assert.equal(onlyBooted.spec.image?.image, "registry.example/os:2");
    const state = join(root.path, "run/ostree/deployment-state", `${second}.0`);
    mkdirSync(state, { recursive: true });
    for (const [mark, access] of [
      ["unlocked-transient", "readOnly"],
      ["unlocked-development", "readWrite"],
    ] as const) {
      writeFileSync(join(state, mark), "");
      assert.deepEqual((await agree()).usrOverlay, { accessMode: access, persistence: "transient" });
    }
    await findsAnyRoot(sysroot, root.path, second);
  });
});

/** Where something else than the deployment's directory is mounted as the root, as with composefs. */
async function findsAnyRoot(sysroot: DeployedSysroot, root: string, booted: string): Promise<void> {
  const elsewhere = join(sysroot.folder, "elsewhere");
  mkdirSync(join(elsewhere, "run"), { recursive: true });
  mkdirSync(join(elsewhere, "proc"));
  for (const name of ["sysroot", "boot"]) symlinkSync(join(root, name), join(elsewhere, name));
  const bootedIs = () => statusOf(sysroot.path, elsewhere).booted?.ostree.checksum;
  // libostree of old tells nothing: then the kernel's argument does.
  writeFileSync(join(elsewhere, "run/ostree-booted"), "");
  const { deployments } = readDeployments(sysroot.path, "/");
  const own = deployments.find(({ checksum }) => checksum === booted);
  writeFileSync(
    join(elsewhere, "proc/cmdline"),
    `quiet ${own?.kernelArguments.findLast((each) => each.startsWith("ostree="))}\n`,
  );
  assert.equal(bootedIs(), booted);
  // Newer releases tell which directory it is, whatever the argument leads to by now.
  const other = deployments.find(({ checksum }) => checksum !== booted);
  assert.ok(other);
  const { dev, ino } = statSync(other.directory, { bigint: true });
  const value = Buffer.alloc(16);
  value.writeBigUInt64LE(dev, 0);
  value.writeBigUInt64LE(ino, 8);
  const mark = { key: "backing-root-device-inode", type: "other", signature: "(tt)", value } as const;
  writeFileSync(join(elsewhere, "run/ostree-booted"), serializeMetadata([mark]));
  assert.equal(bootedIs(), other.checksum);
}
