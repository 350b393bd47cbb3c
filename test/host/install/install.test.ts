import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { debianImages } from "#fixtures/debian-images.ts";
import { tryPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeModernPrograms } from "#fixtures/modern-chroot.ts";
import { directory, file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { filesOfTheirOwn } from "../backend/repository.ts";
import { boundUnits, deploymentsOf, hostEntries, installHost, listBelow, SmallImages } from "./small-hosts.ts";

const insecure = "--tls-verify=false";

test("a Debian on ext4, without reflinks: stores, deployment, boot entry, /etc and /var", {
  timeout: 180_000,
}, async () => {
  const { layout, images } = await debianImages();
  await using registry = await makeRegistry({ layouts: [layout] });
  await withFileSystem("ext4", { sizeMiB: 1500 }, async (root) => {
    const uuid = (await runProgram("findmnt", ["-no", "SOURCE", root])).trim();
    const expected = (await runProgram("blkid", ["-p", "-s", "UUID", "-o", "value", uuid])).trim();
    const target = "registry.example/debian:stable";
    const names = ["--source-imgref", `${registry.address}/small:1`, "--target-imgref", target, insecure];
    const settings = ["--stateroot", "debian", "--karg", "console=tty0", "--karg", "console=ttyS0 quiet"];
    const report = await installHost(root, [...names, ...settings]);
    assert.equal(report.digest, images["small:1"].manifestDigest);
    assert.equal(report.ostree.method, "hardlink");
    assert.deepEqual(await deploymentsOf(root), [`debian ${report.ostree.commit}.0`]);
    const repository = join(root, "ostree/repo");
    await runProgram("ostree", [`--repo=${repository}`, "fsck", "--quiet"]);
    for (const [key, value] of [
      ["bootloader", "none"],
      ["readonly", "true"],
    ] as const)
      assert.equal(
        (await runProgram("ostree", [`--repo=${repository}`, "config", "get", `sysroot.${key}`])).trim(),
        value,
      );
    const refs = (await runProgram("ostree", [`--repo=${repository}`, "refs"])).split("\n");
    assert.ok(refs.includes("ostree/container/image/docker_3A__2F__2F_registry_2E_example/debian_3A_stable"));
    assert.equal(
      refs.filter((ref) => ref.startsWith("ostree/container/image/")).length,
      1,
      "no ref of the source's name",
    );
    assert.ok(
      refs.some((ref) => /^ostree\/[01]\/[01]\/0$/.test(ref)),
      "libostree keeps the commit",
    );

    const entries = readdirSync(join(root, "boot/loader/entries"));
    assert.equal(entries.length, 1);
    const entry = readFileSync(join(root, "boot/loader/entries", entries[0] ?? ""), "utf8");
    const options = /^options (.*)$/m.exec(entry)?.[1] ?? "";
    assert.ok(options.startsWith(`root=UUID=${expected} rw console=tty0 console=ttyS0 quiet `), options);
    const kernel = /^linux (?:\/boot)?(\/ostree\/debian-[0-9a-f]{64}\/vmlinuz-.*)$/m.exec(entry)?.[1] ?? "";
    assert.equal(readFileSync(join(root, "boot", kernel), "utf8"), "not a kernel\n");

    const deployment = join(root, "ostree/deploy/debian/deploy", report.deployment);
    assert.equal(
      readFileSync(`${deployment}.origin`, "utf8"),
      `[origin]\ncontainer-image-reference=ostree-unverified-registry:${target}\n`,
    );
    assert.equal(readFileSync(join(deployment, "usr/etc/hostname"), "utf8"), "small\n");
    assert.equal(
      await listBelow(deployment, "etc"),
      await listBelow(deployment, "usr/etc"),
      "/etc is a copy of /usr/etc",
    );
    assert.notEqual(
      lstatSync(join(deployment, "etc/hostname")).ino,
      lstatSync(join(deployment, "usr/etc/hostname")).ino,
    );
    assert.ok(existsSync(join(root, "ostree/deploy/debian/var/lib/dpkg/status")), "/var has what the image has there");
    const aleph = JSON.parse(readFileSync(join(root, ".bootc-aleph.json"), "utf8")) as Record<string, unknown>;
    assert.equal(aleph["image"], `${registry.address}/small:1`);
    assert.equal(aleph["target-image"], target);
    assert.equal(aleph["digest"], report.digest);

    const named = await tryPodman(join(root, "ostree/bootc/storage"), [
      "image",
      "inspect",
      "--format={{.Digest}}",
      target,
    ]);
    assert.equal(named.stdout.trim(), report.digest, "podman finds the host's image, by the name that it follows");

    const again = await tryOnehold(root, ["install", "to-filesystem", root, "--source-imgref", "localhost:1/other:1"]);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /has a host already/);
  });
});

test("what libostree of today makes of the same commit is the same", { timeout: 120_000 }, async () => {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("install");
  await using modern = await makeModernPrograms(["ostree"]);
  const images = new SmallImages(folder.path, registry);
  await images.host("host:1", [file("etc/more", "x", { mode: 0o600 }), directory("var/log", { mode: 0o711 })]);
  await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
    const args = ["--source-imgref", `${registry.address}/host:1`, insecure, "--karg", "quiet"];
    const { deployment, ostree } = await installHost(root, args);
    const admin = (...words: string[]) => runProgram(join(modern.folder, "ostree"), ["admin", ...words]);
    await admin("os-init", `--sysroot=${root}`, "referee");
    const deploy = ["deploy", `--sysroot=${root}`, "--os=referee", "--no-prune", "--karg-none", "--karg=quiet"];
    await admin(...deploy, ostree.commit);
    for (const below of ["var", `deploy/${deployment}/etc`]) {
      const [ours, theirs] = ["default", "referee"].map((name) => listBelow(root, `ostree/deploy/${name}/${below}`));
      assert.equal(await ours, await theirs, below);
    }
  });
});

test("bound images come side by side before the deployment, share blocks, and run with podman", {
  timeout: 180_000,
}, async () => {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("install");
  const images = new SmallImages(folder.path, registry);
  const apps = await Promise.all(
    ["one", "two", "three"].map(async (name) => ({
      name,
      image: await images.push(`${name}:1`, [[file("app", Buffer.alloc(300_000, name))]]),
    })),
  );
  const [one, two, three] = apps.map(({ name }) => `${registry.address}/${name}:1`);
  await images.host("host:1", [
    ...boundUnits({ "one.container": one ?? "", "two.image": two ?? "" }),
    file("usr/lib/large", Buffer.alloc(2_000_000, "large")),
  ]);
  await images.host("host:broken", [...boundUnits({ "one.container": one ?? "", "no.image": `${three}missing` })]);
  await images.host("host:wrong", boundUnits({ "one.container": "%i" }));

  await withFileSystem("xfs", { sizeMiB: 400 }, async (root) => {
    const install = (tag: string) => {
      const source = ["--source-imgref", `${registry.address}/${tag}`, insecure];
      return ["install", "to-filesystem", root, ...source];
    };
    for (const [tag, complaint] of [
      ["host:wrong", /one\.container has "%i" in Image=/],
      ["host:broken", /threemissing.*was not pulled|three:1missing/],
    ] as const) {
      const refused = await tryOnehold(root, install(tag));
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, complaint);
      assert.ok(!existsSync(join(root, "boot/loader")), "nothing is deployed");
      assert.ok(!existsSync(join(root, "ostree/deploy")));
    }
    const events = join(folder.path, "progress");
    const script = 'exec 3>"$1"; shift; exec "$@"';
    const ended = await tryOnehold("/nonexistent", [...install("host:1"), "--progress-fd", "3", "--json"], {
      prefix: ["sh", "-euc", script, "sh", events],
    });
    assert.equal(ended.status, 0, ended.stderr);
    const report = JSON.parse(ended.stdout) as { deployment: string; boundImages: { image: string; digest: string }[] };
    assert.deepEqual(
      report.boundImages.map(({ image, digest }) => [image, digest]),
      [
        [one, apps[0]?.image.manifestDigest],
        [two, apps[1]?.image.manifestDigest],
      ],
    );
    const record = JSON.parse(readFileSync(join(root, "onehold/deployments", `${report.deployment}.json`), "utf8")) as {
      boundImages: unknown;
    };
    assert.deepEqual(record.boundImages, report.boundImages);
    const large = join(root, "ostree/deploy/default/deploy", report.deployment, "usr/lib/large");
    assert.deepEqual(await filesOfTheirOwn([large]), [], "the deployment's files share the image store's blocks");
    assertProgress(readFileSync(events, "utf8"));
    await registry.stop();
    for (const name of [one, two]) {
      const inspect = ["image", "inspect", "--format", "{{.Digest}}", name ?? ""];
      const listed = await tryPodman(join(root, "ostree/bootc/storage"), inspect);
      assert.equal(listed.stdout.trim(), apps[name === one ? 0 : 1]?.image.manifestDigest, listed.stderr);
    }
  });
});

interface ProgressEvent {
  readonly type: string;
  readonly task?: string;
  readonly steps?: number;
  readonly stepsTotal?: number;
  readonly bytes?: number;
  readonly bytesTotal?: number;
  readonly id?: string;
  readonly subtasks?: readonly { readonly subtask: string; readonly completed: boolean }[];
}

const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(
  JSON.parse(
    readFileSync(new URL("../../fixtures/schemas/bootc-progress-v0.schema.json", import.meta.url), "utf8"),
  ) as object,
);

function assertProgress(text: string): void {
  const events = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as ProgressEvent);
  for (const event of events) assert.ok(validate(event), JSON.stringify(validate.errors));
  assert.equal(events[0]?.type, "Start");
  const order = events.map(({ task, id }) => `${task} ${id}`).filter((each, i, all) => each !== all[i - 1]);
  assert.match(
    order.slice(1).join(" | "),
    /^pulling \S+host:1 \| importing \S+host:1 \| staging staging \| pulling 2 images \| staging staging$/,
  );
  const staging = events.filter(({ task }) => task === "staging");
  assert.deepEqual(
    staging.map(({ steps }) => steps),
    [0, 1, 2, 3],
  );
  assert.deepEqual(
    staging.at(-1)?.subtasks?.map(({ subtask, completed }) => [subtask, completed]),
    [
      ["bound_images", true],
      ["deploying", true],
      ["cleanup", true],
    ],
  );
  for (const { bytes = 0, bytesTotal = 0 } of events) assert.ok(bytesTotal === 0 || bytes <= bytesTotal);
}

test("of two installs at once one waits, and is refused", { timeout: 60_000 }, async () => {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("install");
  await new SmallImages(folder.path, registry).host("host:1", []);
  await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
    const args = ["install", "to-filesystem", root, "--source-imgref", `${registry.address}/host:1`, insecure];
    const ended = await Promise.all([tryOnehold("/nonexistent", args), tryOnehold("/nonexistent", args)]);
    assert.deepEqual(new Set(ended.map(({ status }) => status)), new Set([0, 1]));
    assert.match(ended.find(({ status }) => status === 1)?.stderr ?? "", /has a host already|is not empty/);
    assert.equal((await deploymentsOf(root)).length, 1);
    await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);
  });
});

test("what can't be a host's root, or can't boot, is refused and says why", { timeout: 120_000 }, async () => {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("install");
  const images = new SmallImages(folder.path, registry);
  const labels = { "containers.bootc": "1" };
  const without = (name: string) => hostEntries.filter((entry) => !String(entry.name).startsWith(name));
  await images.push("plain:1", [hostEntries]);
  await images.push("kernelless:1", [without("usr/lib/modules")], labels);
  await images.push("rootless:1", [without("sysroot")], labels);
  await images.push(
    "arguments:1",
    [hostEntries, [directory("usr/lib/bootc/kargs.d"), file("usr/lib/bootc/kargs.d/1.toml", "kargs = 'no list'")]],
    labels,
  );
  await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
    const refusal = async (place: string, tag: string, ...args: string[]) => {
      const source = ["--source-imgref", `${registry.address}/${tag}`, insecure];
      const ended = await tryOnehold("/nonexistent", ["install", "to-filesystem", place, ...source, ...args]);
      assert.notEqual(ended.status, 0);
      return ended.stderr;
    };
    const inner = join(root, "inner");
    mkdirSync(inner);
    assert.match(await refusal(inner, "plain:1"), /is not the top of a file system/);
    assert.match(await refusal(root, "plain:1"), /is not empty: it has inner/);
    await runProgram("rmdir", [inner]);
    mkdirSync(join(root, "boot"));
    writeFileSync(join(root, "boot/grub.cfg"), "");
    assert.match(await refusal(root, "plain:1"), /is not empty: it has boot\/grub.cfg/);
    await runProgram("rm", [join(root, "boot/grub.cfg")]);
    assert.match(await refusal(root, "plain:1", "--stateroot", "../x"), /can't be the name of a stateroot/);
    assert.match(await refusal(root, "plain:1", "--karg", "a\nlinux /evil"), /can't be on the kernel's command line/);
    assert.match(await refusal("/proc", "plain:1"), /can't be written|not empty|kernel can boot from/);
    assert.deepEqual(readdirSync(root), ["boot"], "a refusal leaves nothing");
    assert.match(await refusal(root, "plain:1"), /no label containers.bootc/);
    assert.match(await refusal(root, "kernelless:1"), /can't boot: it has no kernel/);
    assert.match(await refusal(root, "rootless:1"), /can't boot: it has no directory \/sysroot/);
    assert.match(await refusal(root, "arguments:1"), /kargs\.d\/1\.toml can't be used/);
    assert.ok(!existsSync(join(root, "boot/loader")));
    // What failed is no reason against another image.
    await images.host("host:1", [
      directory("usr/lib/bootc/kargs.d"),
      file("usr/lib/bootc/kargs.d/2.toml", 'kargs = ["b=2", "c=\\"x y\\""]'),
      file("usr/lib/bootc/kargs.d/1.toml", 'kargs = ["a=1"]\nmatch-architectures = ["x86_64", "aarch64"]'),
      file("usr/lib/bootc/kargs.d/0.toml", 'kargs = ["no"]\nmatch-architectures = ["m68k"]'),
      file("usr/lib/bootc/kargs.d/readme", "no TOML"),
    ]);
    const report = await installHost(root, ["--source-imgref", `${registry.address}/host:1`, insecure]);
    assert.deepEqual(report.kernelArguments.slice(2), ["a=1", "b=2", 'c="x y"']);
    assert.ok(!existsSync(join(root, "onehold/install.json")));
  });
});
