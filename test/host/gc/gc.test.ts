import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type DeployedSysroot, withSysroot } from "#fixtures/deployed-sysroot.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { hexOf } from "#base/digest.ts";
import type { Image } from "#fixtures/oci-layout.ts";
import { makeSmallImages, ownSize, type SmallImages } from "./small-images.ts";
import { assertDeploymentsWhole, assertSound, assertSwept, collect, storedDigests, wentFrom } from "./stores.ts";

interface Host {
  readonly sysroot: DeployedSysroot;
  readonly images: SmallImages;
  readonly pull: (tag: string, kind: "host" | "app", version: number, again?: boolean) => Promise<Pulled>;
  readonly deploy: (image: Pulled) => Promise<void>;
  readonly list: () => Promise<ListedImageReport[]>;
  readonly reasonsOf: (image: Image) => Promise<readonly string[] | undefined>;
}

type Pulled = Image & { readonly commit: string };

async function withHost(backend: "ostree" | "both", run: (host: Host) => Promise<void>): Promise<void> {
  await withSysroot("bookworm", async (sysroot) => {
    const images = makeSmallImages(sysroot.folder);
    await onehold(sysroot.path, ["init", "--backend", backend]);
    const list = () => onehold<ListedImageReport[]>(sysroot.path, ["image", "list"]);
    await run({
      sysroot,
      images,
      async pull(tag, kind, version, again) {
        const image = await images.tag(tag, kind, version, again);
        const report = await onehold<PullReport>(sysroot.path, ["image", "pull", images.reference(tag)]);
        assert.equal(report.digest, image.manifestDigest);
        return { ...image, commit: report.ostree?.commit ?? "" };
      },
      deploy: ({ commit }) =>
        sysroot.deploy(commit, "ostree-unverified-registry:registry.example/os:1", "--os=default"),
      list,
      reasonsOf: async ({ manifestDigest }) => (await list()).find(({ digest }) => digest === manifestDigest)?.reasons,
    });
    assertDeploymentsWhole(sysroot.path);
    await assertSound(sysroot.path);
  });
}

const digestsOf = (...images: Image[]) => images.map(({ manifestDigest }) => manifestDigest).toSorted();

test("deployments, bound images, pins and names stay; the rest goes from every store", {
  timeout: 180_000,
}, async () => {
  await withHost("both", async ({ sysroot: { path, admin }, images, pull, deploy, list, reasonsOf }) => {
    const app = await pull("app", "app", 0);
    const first = await pull("os", "host", 0);
    await deploy(first);
    const second = await pull("os", "host", 1);
    await deploy(second);
    const pinned = await pull("os", "host", 2);
    await onehold(path, ["image", "pin", images.reference("os")]);
    const lost = await pull("os", "host", 4);
    const other = await pull("other", "app", 2);
    const lostApp = await pull("mine", "app", 4);
    const named = await pull("os", "host", 6);
    const mine = await pull("mine", "app", 6);
    assert.deepEqual(await reasonsOf(first), ["deployed"]);
    assert.deepEqual(
      await reasonsOf(app),
      [second, first].map(({ commit }) => `bound to ${commit.slice(0, 12)} as ${images.name("app")}`),
    );
    assert.deepEqual(await reasonsOf(pinned), [`pinned as ${images.reference("os")}`]);
    for (const each of [lost, named, mine]) assert.deepEqual(await reasonsOf(each), []);
    const swept = await collect(path);
    assert.deepEqual(wentFrom(swept), {
      [lost.manifestDigest]: ["image store", "ostree", "composefs"],
      [lostApp.manifestDigest]: ["image store"],
    });
    // Version 4 shares with none that stays; each layer's file is half of that.
    assert.ok(swept.freed >= 2 * ownSize && swept.freed < 2 * ownSize + 100_000, String(swept.freed));
    assert.deepEqual(storedDigests(path), digestsOf(app, first, second, pinned, other, named, mine));
    await assertSwept(path);
    assert.deepEqual(
      (await collect(path)).stores.map(({ parts }) => parts),
      [0, 0, 0],
    );
    assert.equal((await tryOnehold(path, ["gc"])).stdout, "There is nothing to remove.\n");
    assertDeploymentsWhole(path);

    // Also by its digest, a bound image is not removed, nor is a name that a deployment knows it by.
    for (const name of [app.manifestDigest, images.reference("app")]) {
      const refused = await tryOnehold(path, ["image", "remove", name]);
      assert.deepEqual([refused.status, /it is bound to /.test(refused.stderr)], [1, true]);
    }
    await admin("undeploy", "1");
    await onehold(path, ["image", "unpin", pinned.manifestDigest]);
    const { stores } = await collect(path);
    assert.deepEqual(stores[0]?.images.toSorted(), digestsOf(first, pinned));
    assert.deepEqual((await list()).map(({ digest }) => digest).toSorted(), digestsOf(app, second, other, named, mine));
    await assertSwept(path);
  });
});

test("a bound image is the one that the deployment was made with; brought for it, it goes with it", async () => {
  await withHost("ostree", async ({ sysroot: { path, admin }, images, pull, deploy, reasonsOf }) => {
    const old = await pull("app", "app", 0);
    const host = await pull("os", "host", 0);
    await deploy(host);
    const records = join(path, "onehold/deployments");
    mkdirSync(records);
    const bound = [{ image: images.name("app"), unit: "app.image", digest: old.manifestDigest }];
    const record = { version: 1, digest: host.manifestDigest, reference: "docker://os:1", boundImages: bound };
    writeFileSync(join(records, `${host.commit}.0.json`), JSON.stringify(record));
    const current = await pull("app", "app", 2);
    assert.deepEqual(await reasonsOf(old), [`bound to ${host.commit.slice(0, 12)} as ${images.name("app")}`]);
    assert.deepEqual(wentFrom(await collect(path)), {});
    const note = join(path, "onehold/images", hexOf(current.manifestDigest), "record.json");
    const changed = { ...(JSON.parse(readFileSync(note, "utf8")) as object), bound: true };
    writeFileSync(note, JSON.stringify(changed));
    assert.deepEqual(wentFrom(await collect(path)), { [current.manifestDigest]: ["image store"] });
    assert.ok(!existsSync(note));
    await pull("app", "app", 2);
    writeFileSync(note, JSON.stringify(changed));
    // Asked for by the user after all.
    await onehold(path, ["image", "pull", images.reference("app")]);
    await admin("undeploy", "0");
    assert.deepEqual(wentFrom(await collect(path)), { [old.manifestDigest]: ["image store"] });
    await assertSwept(path);
  });
});

test("nothing is removed where it is not certain what is deployed", async () => {
  await withHost("ostree", async ({ sysroot: { path, repository }, pull, deploy, reasonsOf }) => {
    const deployed = await pull("os", "host", 0);
    await deploy(deployed);
    const lost = await pull("os", "host", 2);
    await pull("os", "host", 4);
    const boot = join(path, "boot");
    const refuse = async (why: RegExp) => {
      for (const verb of [["gc"], ["gc", "--dry-run"], ["image", "remove", lost.manifestDigest]]) {
        const { status, stderr } = await tryOnehold(path, verb);
        assert.equal(status, 1);
        assert.match(stderr, /nothing may be removed, since it is not known what must stay/);
        assert.match(stderr, why);
      }
      const { status, stderr } = await tryOnehold(path, ["image", "list"]);
      assert.deepEqual([status, why.test(stderr)], [0, true]);
    };
    // A file system of its own that is not mounted.
    renameSync(boot, `${boot}.away`);
    mkdirSync(boot);
    await refuse(/Mount the file system of \/boot|has no boot entries/);
    rmSync(boot, { recursive: true });
    renameSync(`${boot}.away`, boot);
    const directory = join(path, `ostree/deploy/default/deploy/${deployed.commit}.0`);
    renameSync(directory, `${directory}.away`);
    await refuse(/is not there/);
    renameSync(`${directory}.away`, directory);
    const entry = join(path, "ostree/deploy/default/var/lib/containers/storage/overlay-layers");
    mkdirSync(entry, { recursive: true });
    writeFileSync(join(entry, "layers.json"), "{");
    await refuse(/layers\.json cannot be understood/);
    rmSync(join(entry, "layers.json"));

    // Somebody has dropped the refs that libostree keeps, as it does not have them of a staged deployment.
    await runProgram("ostree", [`--repo=${repository}`, "refs", "--delete", "ostree/0", "ostree/1"]);
    await runProgram("ostree", [`--repo=${repository}`, "refs", "--create=theirs/lost", lost.commit]);
    assert.deepEqual(await reasonsOf(lost), ["kept by the ostree ref theirs/lost"]);
    assert.deepEqual(wentFrom(await collect(path)), {});
    await runProgram("ostree", [`--repo=${repository}`, "refs", "--delete", "theirs/lost"]);
    assert.deepEqual(wentFrom(await collect(path)), { [lost.manifestDigest]: ["image store", "ostree"] });
    await assertSwept(path);
  });
});

test("two manifests with one config are one image, which either keeps", async () => {
  await withHost("both", async ({ sysroot: { path }, images, pull, list }) => {
    const one = await pull("os", "host", 0);
    await onehold(path, ["image", "pin", images.reference("os")]);
    const twin = await pull("twin", "host", 0, true);
    assert.equal(one.configDigest, twin.configDigest);
    await pull("os", "host", 2);
    await pull("twin", "host", 4);
    const listed = (await list()).filter(({ reasons }) => reasons.length > 0);
    assert.deepEqual(new Set(listed.map(({ digest }) => digest)).size, listed.length);
    const went = wentFrom(await collect(path));
    assert.ok(!Object.values(went).some((stores) => stores.includes("image store")), JSON.stringify(went));
    await onehold(path, ["image", "unpin", one.manifestDigest]);
    assert.ok(Object.values(wentFrom(await collect(path))).some((stores) => stores.includes("image store")));
    await assertSwept(path);
  });
});

test("killed at any stage: everything is whole, and the next run ends what was begun", {
  timeout: 180_000,
}, async () => {
  await withHost("both", async ({ sysroot: { path }, pull, deploy }) => {
    const deployed = await pull("os", "host", 0);
    await deploy(deployed);
    const app = await pull("app", "app", 0);
    for (const stage of ["dropping", "removing", "pruning", "sweeping", "forgetting"]) {
      const lost = [await pull("os", "host", 2), await pull("mine", "app", 2)];
      const named = [await pull("os", "host", 4), await pull("mine", "app", 4)];
      const killed = await tryOnehold(path, ["gc"], { env: { ONEHOLD_KILL_AT: stage } });
      assert.notEqual(killed.status, 0, stage);
      assertDeploymentsWhole(path);
      const there = storedDigests(path);
      for (const each of [deployed, app, ...named]) assert.ok(there.includes(each.manifestDigest), stage);
      await runProgram("ostree", [`--repo=${join(path, "ostree/repo")}`, "fsck", "--quiet"]);
      await collect(path);
      assert.deepEqual(storedDigests(path), digestsOf(deployed, app, ...named), stage);
      for (const each of lost) assert.ok(!existsSync(join(path, "onehold/images", hexOf(each.manifestDigest))));
      await assertSwept(path);
    }
  });
});

test("what another store of podman's borrows stays, as long as it does", { timeout: 180_000 }, async () => {
  await withHost("ostree", async ({ sysroot: { path, folder }, images, pull, reasonsOf }) => {
    const storage = join(path, "ostree/bootc/storage");
    const theirs = join(folder, "theirs");
    const usual = join(path, "ostree/deploy/default/var/lib/containers");
    mkdirSync(usual, { recursive: true });
    mkdirSync(theirs);
    symlinkSync(theirs, join(usual, "storage"));
    const podman = (...args: string[]) => {
      const stores = ["--root", theirs, "--runroot", join(folder, "run"), "--storage-driver", "overlay"];
      const script = 'mount -t tmpfs tmpfs /dev/shm; cd "$1"; shift; exec podman "$@"';
      const options = [...stores, "--storage-opt", `additionalimagestore=${storage}`, ...args];
      return runProgram("unshare", [
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
        script,
        "sh",
        folder,
        ...options,
      ]);
    };
    const used = await pull("mine", "app", 2);
    await podman("create", "--name=user", "--pull=never", images.name("mine"), "true");
    // Its lower layer is that of version 4, which is only in the image store.
    const lender = await pull("mine", "app", 4);
    await images.tag("neighbour", "app", 5);
    await podman("pull", "--quiet", "oci:images:neighbour");
    await pull("mine", "app", 6);
    assert.deepEqual(await reasonsOf(used), [`borrowed by the podman store ${join(usual, "storage")}`]);
    assert.deepEqual(await reasonsOf(lender), []);
    const refused = await tryOnehold(path, ["image", "remove", used.manifestDigest]);
    assert.match(refused.stderr, /borrowed by the podman store/);
    assert.deepEqual(wentFrom(await collect(path)), { [lender.manifestDigest]: ["image store"] });
    const id = (await podman("images", "--quiet", "--no-trunc", "--filter=readonly=false")).trim();
    await podman("create", "--name=whole", "--pull=never", id, "true");
    const mounted = (await podman("mount", "whole")).trim();
    assert.ok(mounted.length > 0);
    await podman("rm", "whole", "user");
    await podman("rmi", id);
    assert.deepEqual(wentFrom(await collect(path)), { [used.manifestDigest]: ["image store"] });
    await assertSwept(path);
  });
});

test("containers of the image store's own keep their image, with a message", async () => {
  await withHost("ostree", async ({ sysroot: { path, folder }, images, pull }) => {
    const storage = join(path, "ostree/bootc/storage");
    const used = await pull("mine", "app", 2);
    // As bootc runs it.
    const script = `
      mkdir -p /run/bootc/storage "$2"
      mount --bind "$1" /run/bootc/storage
      mount -t tmpfs tmpfs /dev/shm
      exec 3<"$2"
      shift 2
      exec podman --root /run/bootc/storage --runroot /proc/self/fd/3 --storage-driver overlay "$@"`;
    const unshare = ["--mount", "--propagation", "private", "sh", "-euc", script, "sh", storage, join(folder, "run")];
    const podman = (...args: string[]) => runProgram("unshare", [...unshare, ...args]);
    await podman("create", "--name=user", "--pull=never", images.name("mine"), "true");
    await pull("mine", "app", 4);
    const report = await collect(path);
    assert.deepEqual([wentFrom(report), report.deferred], [{}, [{ digest: used.manifestDigest, container: "user" }]]);
    assert.match((await tryOnehold(path, ["gc"])).stderr, /stays until the container user is removed/);
    await podman("rm", "user");
    assert.deepEqual(wentFrom(await collect(path)), { [used.manifestDigest]: ["image store"] });
    await assertSwept(path);
  });
});
