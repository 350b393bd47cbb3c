import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tryPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { makeModernPrograms } from "#fixtures/modern-chroot.ts";
import { type ListedImageReport, onehold, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry, type Registry } from "#fixtures/registry.ts";
import { directory, type Entry, file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { boundUnits, deploymentsOf, installHost, type InstallReport, SmallImages } from "./small-hosts.ts";

const insecure = "--tls-verify=false";

interface UpdateReport {
  readonly digest: string;
  readonly before: string;
  readonly deployed?: Pick<InstallReport, "deployment" | "kernelArguments" | "boundImages">;
}

interface Host {
  readonly root: string;
  readonly images: SmallImages;
  readonly registry: Registry;
  /** Names of the host's image and of its app. */
  readonly image: string;
  readonly app: string;
  readonly installed: InstallReport;
}

const kargs = (...words: string[]): Entry[] => [
  directory("usr/lib/bootc/kargs.d"),
  file("usr/lib/bootc/kargs.d/1.toml", `kargs = ${JSON.stringify(words)}`),
];

/** A host of version 1, with changes in /etc, whose registry has version 2 under the same name. */
async function withHost(run: (host: Host) => Promise<void>): Promise<void> {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("update");
  const images = new SmallImages(folder.path, registry);
  const [image, app] = [`${registry.address}/host:1`, `${registry.address}/app:1`];
  const bound = boundUnits({ "app.container": app });
  await images.push("app:1", [[file("app", "1")]]);
  await images.host("host:1", [...bound, ...kargs("one=1", "both=1"), file("etc/changed", "1"), file("etc/old", "1")]);
  await withFileSystem("xfs", { sizeMiB: 400 }, async (root) => {
    const installed = await installHost(root, ["--source-imgref", image, insecure, "--karg", "mine=1"]);
    const etc = join(root, "ostree/deploy/default/deploy", installed.deployment, "etc");
    writeFileSync(join(etc, "hostname"), "mine\n");
    writeFileSync(join(etc, "added"), "mine\n");
    rmSync(join(etc, "old"));
    await images.push("app:1", [[file("app", "2")]]);
    const again = [
      ...bound,
      ...kargs("both=1", "two=1"),
      file("etc/changed", "2"),
      file("etc/old", "2"),
      file("var/new", ""),
    ];
    await images.host("host:1", again);
    await run({ root, images, registry, image, app, installed });
  });
}

function optionsOf(root: string): string[] {
  const entries = join(root, "boot/loader/entries");
  const texts = readdirSync(entries).map((name) => readFileSync(join(entries, name), "utf8"));
  const version = (text: string) => Number(/^version (\d+)$/m.exec(text)?.[1]);
  const newest = texts.toSorted((a, b) => version(b) - version(a))[0] ?? "";
  const words = /^options (.*)$/m.exec(newest)?.[1]?.split(" ") ?? [];
  return words.filter((word) => !/^(?:root|ostree)=/.test(word));
}

test("an upgrade brings image and bound image, merges /etc, and keeps the version before", {
  timeout: 180_000,
}, async () => {
  await withHost(async ({ root, image, app, installed }) => {
    interface Check {
      readonly update?: { readonly digest: string };
    }
    const check = await onehold<Check>(root, ["upgrade", "--check", insecure]);
    assert.match(check.update?.digest ?? "", /^sha256:/);
    interface Status {
      readonly status: {
        readonly otherDeployments: { readonly cachedUpdate: { readonly imageDigest: string } | null }[];
      };
    }
    const { status } = await onehold<Status>(root, ["status"]);
    assert.equal(status.otherDeployments[0]?.cachedUpdate?.imageDigest, check.update?.digest, "as ostree-ext keeps it");

    const report = await onehold<UpdateReport>(root, ["upgrade", insecure]);
    assert.equal(report.digest, check.update?.digest);
    assert.equal(report.before, installed.digest);
    const { deployment = "", boundImages = [] } = report.deployed ?? {};
    const old = `default ${installed.deployment}`;
    assert.deepEqual(await deploymentsOf(root), [`default ${deployment}`, old]);
    assert.deepEqual(optionsOf(root), ["rw", "both=1", "mine=1", "two=1"]);
    const etc = join(root, "ostree/deploy/default/deploy", deployment, "etc");
    const text = (name: string) => readFileSync(join(etc, name), "utf8");
    assert.equal(text("hostname"), "mine\n");
    assert.equal(text("added"), "mine\n");
    assert.equal(text("changed"), "2");
    assert.ok(!readdirSync(etc).includes("old"), "what the host has removed stays away");
    assert.deepEqual(readdirSync(join(root, "ostree/deploy/default/var")).includes("new"), false, "/var is the host's");
    await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);

    // The app's tag has moved: each version keeps the one that it came with.
    const [before, after] = [installed.boundImages[0]?.digest, boundImages[0]?.digest];
    assert.notEqual(before, after);
    const listed = await onehold<ListedImageReport[]>(root, ["image", "list"]);
    const reasons = (digest: string | undefined) => listed.find((each) => each.digest === digest)?.reasons.join();
    assert.match(reasons(before) ?? "", new RegExp(`bound to ${installed.deployment.slice(0, 12)} as ${app}`));
    assert.match(reasons(after) ?? "", new RegExp(`bound to ${deployment.slice(0, 12)} as ${app}`));
    const removed = await tryOnehold(root, ["image", "remove", before ?? ""]);
    assert.equal(removed.status, 1, removed.stderr);
    const named = await tryPodman(join(root, "ostree/bootc/storage"), [
      "image",
      "inspect",
      "--format={{.Digest}}",
      app,
    ]);
    assert.equal(named.stdout.trim(), after);

    const again = await onehold<UpdateReport>(root, ["upgrade", insecure]);
    assert.equal(again.deployed, undefined);
    assert.equal((await onehold<Check>(root, ["upgrade", "--check", insecure])).update, undefined);
    assert.match((await tryOnehold(root, ["upgrade", insecure])).stdout, /Nothing to do: the host has what .* is now/);
    assert.match(
      readFileSync(join(root, `ostree/deploy/default/deploy/${deployment}.origin`), "utf8"),
      new RegExp(`registry:${image}\n$`),
    );
  });
});

test("a rollback boots the version before, a second one takes it back", { timeout: 120_000 }, async () => {
  await using modern = await makeModernPrograms(["ostree"]);
  await withHost(async ({ root, installed }) => {
    const env = { PATH: modern.path };
    const none = await tryOnehold(root, ["rollback"], { env });
    assert.match(none.stderr, /has no other version to go back to/);
    const { deployed } = await onehold<UpdateReport>(root, ["upgrade", insecure]);
    const both = [`default ${deployed?.deployment}`, `default ${installed.deployment}`];
    const old = await tryOnehold(root, ["rollback"]);
    if (old.status !== 0) assert.match(old.stderr, /this release of ostree can't change the boot order/);
    else await onehold(root, ["rollback"]);
    assert.deepEqual(await deploymentsOf(root), both);
    await onehold(root, ["rollback"], { env });
    assert.deepEqual(await deploymentsOf(root), both.toReversed());
    assert.deepEqual(optionsOf(root), ["rw", "one=1", "both=1", "mine=1"]);
    await onehold(root, ["rollback"], { env });
    assert.deepEqual(await deploymentsOf(root), both);
    await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);
  });
});

test("a switch follows another image from then on, and deploys nothing where its bound images can't come", {
  timeout: 180_000,
}, async () => {
  await withHost(async ({ root, images, registry, installed }) => {
    await images.host("other:1", [file("usr/other", "x")]);
    await images.host("broken:1", boundUnits({ "no.image": `${registry.address}/missing:1` }));
    const before = await deploymentsOf(root);
    const broken = await tryOnehold(root, ["switch", `${registry.address}/broken:1`, insecure]);
    assert.equal(broken.status, 1);
    assert.match(broken.stderr, /missing:1 was not pulled/);
    assert.deepEqual(await deploymentsOf(root), before);

    const switched = await onehold<UpdateReport>(root, [
      "switch",
      "--transport",
      "registry",
      `${registry.address}/other:1`,
      "--retain",
      insecure,
    ]);
    const deployment = switched.deployed?.deployment ?? "";
    assert.deepEqual(await deploymentsOf(root), [`default ${deployment}`, ...before]);
    assert.equal(
      readFileSync(join(root, `ostree/deploy/default/deploy/${deployment}.origin`), "utf8"),
      `[origin]\ncontainer-image-reference=ostree-unverified-registry:${registry.address}/other:1\n`,
    );
    const listed = await onehold<ListedImageReport[]>(root, ["image", "list"]);
    assert.match(listed.find(({ digest }) => digest === installed.digest)?.reasons.join() ?? "", /pinned as/);
    // The same again is an upgrade, and there is none.
    assert.equal(
      (await onehold<UpdateReport>(root, ["switch", `${registry.address}/other:1`, insecure])).deployed,
      undefined,
    );
    await images.host("other:1", [file("usr/other", "y")]);
    const upgraded = await onehold<UpdateReport>(root, ["upgrade", insecure]);
    assert.notEqual(upgraded.digest, switched.digest);
    assert.equal((await deploymentsOf(root))[0], `default ${upgraded.deployed?.deployment}`);
  });
});

test("an upgrade that was killed leaves the host as it was, or upgraded", { timeout: 180_000 }, async (t) => {
  await withHost(async ({ root, installed }) => {
    for (const stage of ["checking", "bound images pulled", "deploying", "deployed"]) {
      await t.test(`killed at "${stage}"`, async () => {
        const killed = await tryOnehold(root, ["upgrade", insecure], { env: { ONEHOLD_KILL_AT: stage } });
        assert.equal(killed.signal ?? killed.status, killed.signal === null ? 137 : "SIGKILL", killed.stderr);
        const deployments = await deploymentsOf(root);
        assert.equal(deployments.length, stage === "deployed" ? 2 : 1);
        assert.equal(deployments.at(-1), `default ${installed.deployment}`);
      });
    }
    const again = await onehold<UpdateReport>(root, ["upgrade", insecure]);
    assert.equal(again.deployed, undefined);
    assert.equal((await deploymentsOf(root)).length, 2);
    await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);
  });
});
