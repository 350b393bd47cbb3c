import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { listMountedImage } from "#fixtures/containers.ts";
import { type FileSystemKind, withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import type { Ended } from "#fixtures/programs.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeRegistryProxy, type RegistryProxy } from "#fixtures/registry-proxy.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { directory, file } from "#fixtures/tar-writer.ts";

const labels = { "containers.bootc": "1" };

interface Place {
  readonly folder: string;
  readonly sysroot: string;
  readonly proxy: RegistryProxy;
  readonly arguments: (name: string, ...options: string[]) => string[];
  /** One clear error, and the image that was there before is whole, by podman's and ostree's word. */
  readonly assertRefused: (ended: Ended, why: RegExp, status?: number) => Promise<void>;
  readonly assertFirstIsWhole: () => Promise<void>;
}

/** A host with one image, and a registry that has others: `large:1` (3 MB) and `many:1` (9000 files). */
async function withFirstImage(
  kind: FileSystemKind,
  mkfsOptions: readonly string[],
  run: (place: Place) => Promise<void>,
): Promise<void> {
  await using images = await makeTemporaryFolder("images");
  const layout = makeOciLayout(join(images.path, "layout"));
  const small = await addLayer(layout, { entries: [directory("usr"), file("usr/file", randomBytes(300_000))] });
  const large = await addLayer(layout, { entries: [file("usr/large", randomBytes(3_000_000))] });
  const many = await addLayer(layout, {
    entries: [directory("usr"), ...Array.from({ length: 9000 }, (_, i) => file(`usr/many-${i}`, `${i}`))],
  });
  addImage(layout, { tag: "small:1", layers: [small], labels });
  addImage(layout, { tag: "large:1", layers: [small, large], labels });
  addImage(layout, { tag: "many:1", layers: [small, many], labels });
  await using registry = await makeRegistry({ layouts: [layout] });
  await using proxy = await makeRegistryProxy(registry);
  await withFileSystem(kind, { sizeMiB: 400, mkfsOptions }, async (folder) => {
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const arguments_ = (name: string, ...options: string[]) => [
      "image",
      "pull",
      `${proxy.address}/${name}`,
      "--tls-verify=false",
      ...options,
    ];
    const first = await onehold<PullReport>(sysroot, arguments_("small:1", "--pin"));
    const assertFirstIsWhole = async () => {
      await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
      const listed = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      assert.deepEqual(
        listed.find(({ digest }) => digest === first.digest)?.stores,
        ["image store", "ostree"],
        JSON.stringify(listed),
      );
      const additionalStore = join(sysroot, "ostree/bootc/storage");
      const mounted = await listMountedImage({ additionalStore, image: `${proxy.address}/small:1` });
      assert.ok(mounted.some(({ path, size }) => path === "usr/file" && size === 300_000));
      assert.deepEqual(readdirSync(join(sysroot, "onehold")).toSorted(), ["images", "layers", "lock", "pins", "tmp"]);
      assert.deepEqual(readdirSync(join(sysroot, "onehold/tmp")), []);
    };
    const assertRefused = async (ended: Ended, why: RegExp, status = 1) => {
      assert.equal(ended.status, status, ended.stderr);
      assert.equal(ended.stderr.match(/^error: /gm)?.length, 1, ended.stderr);
      assert.match(ended.stderr, why);
      await assertFirstIsWhole();
    };
    await run({ folder, sysroot, proxy, arguments: arguments_, assertRefused, assertFirstIsWhole });
  });
}

const fewInodes: readonly (readonly [FileSystemKind, readonly string[], RegExp])[] = [
  // Gone while podman unpacks.
  ["ext4", ["-N", "2000"], /^error: (?:stopped before the disk was full: .* inodes? left|.*no inodes left)/m],
  // Enough for podman's files, not for ostree's as well.
  ["xfs", ["-i", "maxpct=2"], /^error: the disk is full: .* has .* and \d[\d,]* inodes? left \(/m],
];

for (const [kind, mkfsOptions, why] of fewInodes) {
  test(`a file system that runs out of inodes (${kind})`, { timeout: 120_000 }, async () => {
    await withFirstImage(kind, mkfsOptions, async ({ sysroot, arguments: pull, assertRefused }) => {
      await assertRefused(await tryOnehold(sysroot, pull("many:1")), why);
      assert.match((await tryOnehold(sysroot, pull("many:1"))).stderr, why, "and again");
    });
  });
}

test("what is missing or can't be read on the host", { timeout: 240_000 }, async (t: TestContext) => {
  await withFirstImage("xfs", [], async ({ folder, sysroot, arguments: pull, assertRefused, assertFirstIsWhole }) => {
    const withAuthFile = (make: string) => [
      "unshare",
      "--mount",
      "sh",
      "-euc",
      `mount -t tmpfs tmpfs /run; mkdir /run/ostree; (cd /run/ostree; ${make}); exec "$@"`,
      "sh",
    ];
    for (const [what, make, why] of [
      ["that is not JSON", "echo '{\"auths\": ' >auth.json", /auth\.json can't be used: it is not JSON/],
      ["of another form", "echo '[1]' >auth.json", /auth\.json can't be used: it has no "auths" object/],
      ["that is a folder", "mkdir auth.json", /auth\.json can't be used: it can't be read: .*EISDIR/],
    ] as const) {
      await t.test(`a file of credentials ${what}`, async () => {
        const ended = await tryOnehold(sysroot, pull("large:1"), { prefix: withAuthFile(make) });
        await assertRefused(ended, why);
        assert.match(ended.stderr, /^hint: .*podman login --authfile/m);
      });
    }

    await t.test("neither podman nor skopeo", async () => {
      const env = { PATH: pathWithout(folder, ["podman", "skopeo"]) };
      const ended = await tryOnehold(sysroot, pull("large:1"), { env });
      await assertRefused(ended, /^error: podman or skopeo is needed to pull .*large:1, and is not installed$/m);
      assert.match(ended.stderr, /^hint: Install/m);
      const empty = join(folder, "empty");
      mkdirSync(empty);
      const first = await tryOnehold(empty, pull("large:1"), { env });
      assert.deepEqual([first.status, first.stderr.match(/^error: podman or skopeo/gm)?.length], [1, 1], first.stderr);
    });

    await t.test("no skopeo: podman does it alone, but for what only skopeo can", async () => {
      const env = { PATH: pathWithout(folder, ["skopeo"]) };
      await assertRefused(
        await tryOnehold(sysroot, ["image", "pull", "containers-storage:localhost/os:1"], { env }),
        /^error: skopeo is needed to pull localhost\/os:1, and is not installed$/m,
      );
      assert.equal((await tryOnehold(sysroot, pull("large:1"), { env })).status, 0);
    });

    await t.test("no podman: skopeo does it", async () => {
      const env = { PATH: pathWithout(folder, ["podman"]) };
      await assertRefused(
        await tryOnehold(sysroot, pull("many:1", "--source=podman"), { env }),
        /^error: podman is needed to pull .*many:1, and is not installed$/m,
      );
      const ended = await tryOnehold(sysroot, pull("many:1"), { env });
      assert.equal(ended.status, 0, ended.stderr);
      await assertFirstIsWhole();
    });
  });
});

for (const source of ["podman", "skopeo"]) {
  test(`Ctrl-C in the middle of a pull with ${source}`, { timeout: 120_000 }, async () => {
    await withFirstImage("xfs", [], async ({ sysroot, proxy, arguments: pull, assertRefused, assertFirstIsWhole }) => {
      proxy.faults.bytesPerSecond = 500_000;
      const before = proxy.blobsFetched().length;
      const running = tryOnehold(sysroot, pull("large:1", `--source=${source}`));
      while (proxy.blobsFetched().length === before) await setTimeout(20);
      await setTimeout(700);
      assert.ok(
        programsOn(sysroot).some((name) => name === source),
        programsOn(sysroot).join(" "),
      );
      const { pid } = JSON.parse(readFileSync(join(sysroot, "onehold/operation.json"), "utf8")) as { pid: number };
      process.kill(pid, "SIGINT");
      const ended = await running;
      assert.deepEqual(programsOn(sysroot), [], "it ends with us");
      await assertRefused(ended, /^error: .*interrupted/m, 130);
      delete proxy.faults.bytesPerSecond;
      assert.equal((await tryOnehold(sysroot, pull("large:1"))).status, 0);
      await assertFirstIsWhole();
    });
  });
}

let folders = 0;

/** A PATH with all programs of this machine but these. */
function pathWithout(folder: string, missing: readonly string[]): string {
  const path = join(folder, `programs-${folders++}`);
  mkdirSync(path);
  for (const place of ["/usr/sbin", "/usr/bin"]) {
    for (const name of readdirSync(place)) {
      if (missing.includes(name)) continue;
      try {
        symlinkSync(join(place, name), join(path, name));
      } catch {
        // In both.
      }
    }
  }
  return path;
}

/** Names of processes that have the store of this sysroot mounted. */
function programsOn(sysroot: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) => {
      try {
        const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8");
        const device = mounts.split("\n").find((line) => line.includes(` ${sysroot.replace(/\/sysroot$/, "")} `));
        const own = mounts.includes(" /sysroot/ostree/bootc/storage /run/bootc/storage ") && device !== undefined;
        return own ? [readFileSync(`/proc/${pid}/comm`, "utf8").trim()] : [];
      } catch {
        return []; // It has just ended.
      }
    });
}
