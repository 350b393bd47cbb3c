import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { onehold, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import type { HostDocument } from "#host/status-document.ts";
import { appImage, type DeployedSysroot, deployVersions, withSysroot } from "#fixtures/deployed-sysroot.ts";
import { assertValid } from "./referees.ts";

/** Three deployments, for all tests here. */
let sysroot: DeployedSysroot;
let commits: string[];
let digests: string[];
let release: () => void;
let released: Promise<void>;

before(async () => {
  await new Promise<void>((ready, fail) => {
    released = withSysroot("bookworm", async (made) => {
      sysroot = made;
      const versions = await deployVersions(made, [1, 2, 3]);
      digests = versions.map(({ digest }) => digest).toReversed();
      commits = versions.map(({ commit }) => commit).toReversed();
      await new Promise<void>((resolve) => {
        release = resolve;
        ready();
      });
    });
    released.catch(fail);
  });
});
after(async () => {
  release();
  await released;
});

async function statusOf(path: string, ...options: string[]): Promise<HostDocument> {
  const host = await onehold<HostDocument>(path, ["status", ...options]);
  assertValid(host);
  return host;
}

const directoryOf = (path: string, commit: string | undefined) =>
  join(path, `ostree/deploy/default/deploy/${commit}.0`);

describe("what it tells", () => {
  test("of each deployment: its image, its bound images, whether it is unified", async () => {
    const { spec, status } = await statusOf(sysroot.path);
    const [newest, ...older] = status.otherDeployments ?? [];
    assert.equal(older.length, 2);
    assert.deepEqual(newest?.image, {
      image: { image: "registry.example/os:3", transport: "registry" },
      version: "v3",
      timestamp: "2026-01-02T23:00:00.500Z",
      imageDigest: digests[0],
      architecture: process.arch === "x64" ? "amd64" : process.arch,
    });
    assert.deepEqual(spec, { image: newest.image.image, bootOrder: "default" });
    assert.deepEqual(newest.onehold.storage, { mode: "unified", inEffect: true, reason: null });
    const missing = { digest: null, present: false };
    const [app, tool] = newest.onehold.boundImages ?? [];
    assert.deepEqual(app, { image: appImage, unit: "app.container", ...missing });
    assert.deepEqual(tool, { image: tool?.image, unit: "tool.image", ...missing });
    assert.deepEqual(status.onehold, { storage: newest.onehold.storage, problems: [] });
  });

  test("the same as JSON, as YAML and in both versions of the format", async () => {
    const json = await statusOf(sysroot.path);
    const yaml = await tryOnehold(sysroot.path, ["status", "--format", "yaml", "--format-version", "0"]);
    assert.deepEqual(parse(yaml.stdout), json);
    const unknown = await tryOnehold(sysroot.path, ["status", "--format-version=2"]);
    assert.equal(unknown.status, 2);
  });

  test("for people", async () => {
    const { stdout } = await tryOnehold(sysroot.path, ["status"]);
    const toolName = /^ +(localhost\S+)/m.exec(stdout)?.[1];
    const [first, ...others] = stdout.split("\n\n");
    assert.equal(others.length, 2);
    assert.deepEqual(first?.split("\n"), [
      "      Next image: registry.example/os:3",
      `          Digest: ${digests[0]} (amd64)`,
      "         Version: v3 (2026-01-02T23:00:00.500Z)",
      "         Storage: unified",
      `    Bound images: ${appImage} (missing)`,
      `                  ${toolName} (missing)`,
    ]);
    const verbose = await tryOnehold(sysroot.path, ["status", "--verbose", "--usage"]);
    assert.match(verbose.stdout, new RegExp(`^ +Commit: ${commits[0]}$`, "m"));
    assert.match(verbose.stdout, /^ +On disk: .* shared, 0 B held twice; .* in no other image$/m);
  });

  test("bytes, as usage has them", async () => {
    const { status } = await statusOf(sysroot.path, "--usage");
    type Row = { readonly digest: string; readonly bytes: number; readonly shared: number; readonly exclusive: number };
    const { images } = await onehold<{ images: Row[] }>(sysroot.path, ["usage"]);
    for (const { image, onehold: more } of status.otherDeployments ?? []) {
      const row = images.find(({ digest }) => digest === image?.imageDigest);
      assert.deepEqual([more.bytes?.bytes, more.bytes?.exclusive], [row?.bytes, row?.exclusive]);
      assert.ok(more.bytes !== undefined && more.bytes !== null && more.bytes.shared > 0);
    }
  });

  test("an update that somebody looked for: what ostree-ext keeps beside the commit", async () => {
    const config = (version: string) =>
      JSON.stringify({
        architecture: "arm64",
        os: "linux",
        config: { Labels: { version } },
        rootfs: { type: "layers", diff_ids: [] },
      });
    const [digest, next] = ["1", "2"].map((digit) => `sha256:${digit.repeat(64)}`);
    const commit = await runProgram("ostree", [
      `--repo=${sysroot.repository}`,
      "commit",
      "--orphan",
      "--no-bindings",
      `--tree=ref=${commits[2]}`,
      `--add-metadata-string=ostree.manifest-digest=${digest}`,
      `--add-metadata-string=ostree.container.image-config=${config("old")}`,
      `--add-detached-metadata-string=ostree-ext.cached.manifest-digest=${next}`,
      `--add-detached-metadata-string=ostree-ext.cached.config=${config("new")}`,
    ]);
    const origin = "ostree-remote-image:trusted:oci-archive:/srv/os.tar";
    await sysroot.deploy(commit.trim(), origin, "--os=default", "--not-as-default");
    const { otherDeployments = [] } = (await statusOf(sysroot.path)).status;
    const found = otherDeployments.find(({ ostree }) => ostree.checksum === commit.trim());
    const image = { image: "/srv/os.tar", transport: "oci-archive", signature: { ostreeRemote: "trusted" } };
    const rest = { image, timestamp: null, architecture: "arm64" };
    assert.deepEqual(found?.image, { ...rest, version: "old", imageDigest: digest });
    assert.deepEqual(found.cachedUpdate, { ...rest, version: "new", imageDigest: next });
    assert.match(found.onehold.storage?.reason ?? "", /image store does not have/);
    await sysroot.admin("undeploy", String(otherDeployments.indexOf(found)));
  });
});

/** A copy of the sysroot without what is large, to break. */
function copyOf(purpose: string): string {
  const path = join(sysroot.folder, purpose);
  rmSync(path, { recursive: true, force: true });
  cpSync(sysroot.path, path, { recursive: true, verbatimSymlinks: true });
  return path;
}

describe("what can't be read", () => {
  const entryFile = (path: string) => {
    const folder = join(path, "boot/loader/entries");
    const name = readdirSync(folder).find((each) => readFileSync(join(folder, each), "utf8").includes("version=2 "));
    return join(folder, name ?? "");
  };
  const originFile = (path: string) => `${directoryOf(path, commits[1])}.origin`;
  const commitFile = (path: string) =>
    join(path, "ostree/repo/objects", commits[1]?.slice(0, 2) ?? "", `${commits[1]?.slice(2)}.commit`);
  const rewrite = (file: string, change: (text: string) => string) =>
    writeFileSync(file, change(readFileSync(file, "utf8")));
  const inPlaceOf = (file: string, make: () => void) => {
    rmSync(file, { recursive: true });
    make();
  };
  /** What is broken, how many deployments are left, and how many of those have an image. */
  const damages: Readonly<Record<string, readonly [(path: string) => string, left: number, images: number]>> = {
    "an origin that is no key file": [(path) => (writeFileSync(originFile(path), "\0\x01"), originFile(path)), 3, 2],
    "an origin with an image of nowhere": [
      (path) => (
        rewrite(originFile(path), (text) => text.replace("ostree-unverified-registry", "http")), originFile(path)
      ),
      3,
      2,
    ],
    "an origin that is a directory": [
      (path) => (inPlaceOf(originFile(path), () => mkdirSync(originFile(path))), originFile(path)),
      3,
      2,
    ],
    "an entry without options": [
      (path) => (rewrite(entryFile(path), (text) => text.replace(/^options/m, "no")), "entries"),
      2,
      2,
    ],
    "an entry without ostree=": [
      (path) => (rewrite(entryFile(path), (text) => text.replace(" ostree=", " other=")), "entries"),
      2,
      2,
    ],
    "an entry that leads out of the sysroot": [
      (path) => (
        rewrite(entryFile(path), (text) => text.replace(/ ostree=\S*\/default/, " ostree=/ostree/boot.1/..")), "entries"
      ),
      2,
      2,
    ],
    "an entry that is too large": [
      (path) => (writeFileSync(entryFile(path), Buffer.alloc(2 << 20, "x")), "entries"),
      2,
      2,
    ],
    "an entry that is a directory": [
      (path) => {
        const file = entryFile(path);
        inPlaceOf(file, () => mkdirSync(file));
        return "entries";
      },
      2,
      2,
    ],
    "no boot link": [(path) => (rmSync(join(path, "ostree/boot.1")), "boot."), 0, 0],
    "no deployment": [
      (path) => (rmSync(directoryOf(path, commits[1]), { recursive: true }), directoryOf(path, commits[1])),
      2,
      2,
    ],
    "no commit": [(path) => (rmSync(commitFile(path)), "repo"), 3, 2],
    "a damaged commit": [(path) => (rewrite(commitFile(path), (text) => `${text}x`), "repo"), 3, 2],
    "a bound image that is none": [
      (path) => {
        const unit = join(directoryOf(path, commits[1]), "usr/lib/bootc/bound-images.d/app.container");
        inPlaceOf(unit, () => symlinkSync("/nowhere", unit));
        return "app.container";
      },
      3,
      3,
    ],
    "a damaged image store": [
      (path) => {
        writeFileSync(join(path, "ostree/bootc/storage/overlay-images/images.json"), "[");
        return "images.json";
      },
      3,
      3,
    ],
    "a damaged setting": [
      (path) => (writeFileSync(join(path, "onehold/config.json"), '{"version": 7}'), "config.json"),
      3,
      3,
    ],
  };
  for (const [name, [damage, left, images]] of Object.entries(damages)) {
    test(name, async () => {
      const path = copyOf("broken");
      const subject = damage(path);
      const { status } = await statusOf(path);
      const { otherDeployments = [], onehold: more } = status;
      assert.equal(otherDeployments.length, left);
      assert.equal(otherDeployments.filter(({ image }) => image !== null).length, images);
      assert.ok(more.problems.length > 0);
      for (const problem of more.problems)
        assert.ok(problem.subject?.includes(subject), problem.subject ?? problem.message);
      const { status: exit, stderr } = await tryOnehold(path, ["status"]);
      assert.equal(exit, 0);
      assert.ok(stderr.includes(more.problems[0]?.message ?? "?"), stderr);
    });
  }

  test("nothing at all: a sysroot without deployments, without a repository", async () => {
    const path = join(sysroot.folder, "empty");
    mkdirSync(path);
    assert.deepEqual((await statusOf(path)).status.otherDeployments, undefined);
    const { stdout, status } = await tryOnehold(path, ["status"]);
    assert.deepEqual([status, stdout], [0, "No deployment.\n"]);
  });
});

describe("it only reads", () => {
  test("it makes no file, takes no lock and changes nothing, as strace has it", async () => {
    const trace = join(sysroot.folder, "trace");
    const calls = "trace=%file,fcntl,flock,ftruncate,fallocate,ioctl,fsync,syncfs,write,pwrite64";
    const prefix = ["strace", "--follow-forks", "--decode-fds=path", "-e", calls, "-o", trace];
    const { status } = await tryOnehold(sysroot.path, ["status", "--json"], { prefix });
    assert.equal(status, 0);
    const there = readFileSync(trace, "utf8")
      .split("\n")
      .filter((line) => line.includes(sysroot.path));
    assert.ok(there.some((line) => line.includes("/boot/loader/entries")));
    const reading =
      /^\d+ +(?:open(?:at2?)?|statx|newfstatat|l?stat|statfs|access|readlink|faccessat2?|getxattr|readlinkat)\(|execve\(/;
    for (const line of there) {
      assert.match(line, reading);
      assert.doesNotMatch(line, /O_(?:WRONLY|RDWR|CREAT|TRUNC|TMPFILE)/);
    }
  });

  test("read-only media", async () => {
    const writable = await statusOf(sysroot.path);
    const mountPoint = await runProgram("findmnt", ["--noheadings", "--output", "TARGET", "--target", sysroot.path]);
    await runProgram("mount", ["-o", "remount,ro", mountPoint.trim()]);
    try {
      const { status, ...rest } = await statusOf(sysroot.path);
      assert.deepEqual({ ...rest, status: { ...status, readOnly: false } }, writable);
      assert.equal(status.readOnly, true);
    } finally {
      await runProgram("mount", ["-o", "remount,rw", mountPoint.trim()]);
    }
  });

  test("the image store lost an image, a mode is set: it says so", async () => {
    const path = copyOf("separate");
    rmSync(join(path, "ostree/bootc/storage/overlay-images"), { recursive: true });
    const { storage } = (await statusOf(path)).status.onehold;
    assert.equal(storage.inEffect, false);
    assert.match(storage.reason ?? "", /^registry\.example\/os:3: the image store does not have/);
    writeFileSync(join(path, "onehold/config.json"), '{"version": 1, "storage": "separate"}');
    assert.deepEqual((await statusOf(path)).status.onehold.storage, {
      mode: "separate",
      inEffect: true,
      reason: null,
    });
  });

  // The last one: it stays.
  test("a bound image that the image store has: its digest", async () => {
    const digest = await sysroot.pullTool();
    for (const { onehold: more } of (await statusOf(sysroot.path)).status.otherDeployments ?? []) {
      const tool = more.boundImages?.find(({ unit }) => unit === "tool.image");
      assert.deepEqual([tool?.digest, tool?.present], [digest, true]);
    }
  });
});
