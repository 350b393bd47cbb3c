import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { byteString } from "#base/bytes.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { makeModernPrograms, runModern } from "#fixtures/modern-chroot.ts";
import { addImage, addLayer, addManifestList, blobPath, makeOciLayout } from "#fixtures/oci-layout.ts";
import { endOf, runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import * as tar from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { listTree } from "#fixtures/tree-listing.ts";

const oddName = Buffer.from("odd \\ \n\xff", "latin1");
const longName = `${"deep/".repeat(30)}${"n".repeat(255)}`;

/** What the hard cases need of a tar, in a few entries. */
const entries: readonly tar.Entry[] = [
  tar.directory("etc", { mode: 0o2750, uid: 12, gid: 34 }),
  tar.file("etc/motd", "hello", { mode: 0o4755, uid: 3_000_000, mtime: "1700000000.123456789" }),
  tar.file("etc/marked", "x", { xattrs: { "user.a": "1", "user.b": Buffer.from([0, 255]) } }),
  tar.hardlink("etc/again", "etc/motd", { mode: 0o4755, uid: 3_000_000, mtime: "1700000000.123456789" }),
  tar.symlink("link", "l".repeat(200)),
  tar.fifo("fifo", { mode: 0o600 }),
  tar.device("null", "char", [1, 3]),
  tar.device("disk", "block", [259, 70000]),
  tar.file(oddName, "odd"),
  tar.file(longName, "long"),
  tar.sparse("sparse", 1 << 20, [{ offset: 65_536, bytes: Buffer.from("middle") }]),
  tar.file("zeros", tar.zeros(3_000_001)),
  tar.file("last"),
];

describe("file systems", () => {
  for (const kind of ["xfs", "btrfs", "ext4"] as const) {
    test(`${kind} is what it says, and leaves nothing behind`, async () => {
      let gone = "";
      const failing = withFileSystem(kind, { sizeMiB: 300 }, async (mountPoint) => {
        gone = mountPoint;
        const type = await runProgram("stat", ["--file-system", "--format=%T", mountPoint]);
        assert.equal(type.trim(), kind === "ext4" ? "ext2/ext3" : kind);
        writeFileSync(join(mountPoint, "a"), Buffer.alloc(100_000, 1));
        const copy = await tryProgram("cp", ["--reflink=always", "a", "b"], { cwd: mountPoint });
        assert.equal(copy.status === 0, kind !== "ext4");
        throw new Error("the test's own");
      });
      await assert.rejects(failing, /the test's own/);
      assert.equal(existsSync(gone), false);
      assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), new RegExp(gone));
      assert.doesNotMatch(await runProgram("losetup", ["--all"]), new RegExp(gone.replace(/mnt$/, "")));
    });
  }

  test("what a killed test leaves is cleared by the next one", async () => {
    const program = `
      import { makeFileSystem } from ${JSON.stringify(join(import.meta.dirname, "../fixtures/file-systems.ts"))};
      console.log((await makeFileSystem("ext4", { sizeMiB: 16 })).mountPoint);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const mountPoint = await firstLine(child.stdout);
    child.kill("SIGKILL");
    await endOf(child);
    assert.ok(existsSync(mountPoint));
    const next = `
      import { makeTemporaryFolder } from ${JSON.stringify(join(import.meta.dirname, "../fixtures/temporary-folders.ts"))};
      await using _ = await makeTemporaryFolder("next");`;
    await runProgram(process.execPath, ["--input-type=module-typescript", "--eval", next]);
    assert.equal(existsSync(mountPoint), false);
  });
});

describe("tars", () => {
  for (const dialect of ["pax", "gnu"] as const) {
    test(`GNU tar reads the ${dialect} dialect as it was meant`, async () => {
      await using folder = await makeTemporaryFolder("tar");
      const tree = join(folder.path, "tree");
      mkdirSync(tree);
      const tarFile = join(folder.path, "x.tar");
      writeFileSync(tarFile, Buffer.concat([...tar.writeTar(entries, { dialect, trailing: Buffer.from("junk") })]));
      await runProgram("tar", [
        "--extract",
        "--same-permissions",
        "--xattrs",
        "--xattrs-include=*",
        "--file",
        tarFile,
        "--directory",
        tree,
      ]);
      const files = new Map((await listTree(tree)).map((file) => [file.path, file]));
      const file = (name: string | Buffer) => {
        const found = files.get(byteString(Buffer.from(name)));
        assert.ok(found, `${name.toString()} is missing`);
        return found;
      };
      const { type, mode, uid, gid } = file("etc");
      assert.deepEqual({ type, mode, uid, gid }, { type: "directory", mode: 0o2750, uid: 12, gid: 34 });
      assert.equal(file("etc/motd").mode, 0o4755);
      assert.equal(file("etc/motd").uid, 3_000_000);
      assert.equal(file("etc/motd").mtime, "1700000000.1234567890");
      assert.equal(file("etc/motd").inode, file("etc/again").inode);
      assert.deepEqual(file("etc/marked").xattrs, { "user.a": "31", "user.b": "00ff" });
      assert.equal(file("link").linkTarget, "l".repeat(200));
      assert.equal(file("fifo").type, "fifo");
      assert.deepEqual([file("null").type, file("null").device], ["char", "1:3"]);
      assert.deepEqual([file("disk").type, file("disk").device], ["block", "103:11170"]);
      assert.equal(file(oddName).sha256, await sha256sum(Buffer.from("odd")));
      assert.equal(file(longName).sha256, await sha256sum(Buffer.from("long")));
      const sparse = Buffer.alloc(1 << 20);
      sparse.write("middle", 65_536);
      assert.equal(file("sparse").sha256, await sha256sum(sparse));
      assert.equal(file("zeros").size, 3_000_001);
      assert.equal(file("last").size, 0);
    });
  }
});

describe("registry", () => {
  test("takes images of both kinds and lists, digests unchanged", async () => {
    await using folder = await makeTemporaryFolder("layout");
    await using registry = await makeRegistry();
    const layout = makeOciLayout(folder.path);
    const gzip = await addLayer(layout, { entries: [tar.file("a", "a")] });
    const zstd = await addLayer(layout, { entries: [tar.file("b", "b")] }, "zstd");
    const oci = addImage(layout, { tag: "oci", layers: [gzip, zstd], labels: { "containers.bootc": "1" } });
    const docker = addImage(layout, { tag: "docker", layers: [gzip], format: "docker" });
    const other = addImage(layout, { tag: "other", layers: [gzip], architecture: "s390x" });
    const list = addManifestList(layout, "list", [oci, other]);
    for (const [tag, digest] of [
      ["oci", oci.manifestDigest],
      ["docker", docker.manifestDigest],
      ["list", list],
    ] as const) {
      await pushImage(layout, tag, registry, `${tag}:1`);
      const raw = await runProgram("skopeo", [
        "inspect",
        "--raw",
        "--tls-verify=false",
        `docker://${registry.address}/${tag}:1`,
      ]);
      assert.equal(`sha256:${await sha256sum(Buffer.from(raw))}`, digest);
    }
    const inspected = await runProgram("skopeo", [
      "inspect",
      "--tls-verify=false",
      `docker://${registry.address}/list:1`,
    ]);
    assert.match(inspected, /"containers.bootc": "1"/);
    assert.equal(await sha256sum(readFileSync(blobPath(layout, zstd.digest))), zstd.digest.slice(7));
    assert.equal(await runProgram("sh", ["-c", 'zstd -dc "$1" | tar -xO', "sh", blobPath(layout, zstd.digest)]), "b");
  });

  test("asks for a password and has a certificate, where it shall", async () => {
    await using folder = await makeTemporaryFolder("layout");
    const layout = makeOciLayout(folder.path);
    addImage(layout, { tag: "a:1", layers: [await addLayer(layout, { entries: [tar.file("a", "a")] })] });
    const credentials = { user: "someone", password: "p: w" };
    await using registry = await makeRegistry({ credentials, tls: true, layouts: [layout] });
    assert.ok(registry.certificate !== undefined && registry.authFile !== undefined);
    const name = `docker://${registry.address}/a:1`;
    const trusting = { env: { SSL_CERT_FILE: registry.certificate } };
    await runProgram("skopeo", ["inspect", "--authfile", registry.authFile, name], trusting);
    assert.match((await tryProgram("skopeo", ["inspect", name], trusting)).stderr, /authentication required/);
    assert.match(
      (await tryProgram("skopeo", ["inspect", "--authfile", registry.authFile, name])).stderr,
      /certificate/,
    );
  });

  test("ends with its owner, even a killed one", async () => {
    const program = `
      import { makeRegistry } from ${JSON.stringify(join(import.meta.dirname, "../fixtures/registry.ts"))};
      console.log((await makeRegistry()).port);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const port = Number(await firstLine(child.stdout));
    assert.equal(await listens(port), true);
    child.kill("SIGKILL");
    await endOf(child);
    for (let attempt = 0; attempt < 50 && (await listens(port)); attempt += 1) await sleep(100);
    assert.equal(await listens(port), false);
  });

  test("behind the proxy: counts, slows, corrupts, cuts off", async () => {
    await using folder = await makeTemporaryFolder("layout");
    const layout = makeOciLayout(join(folder.path, "layout"));
    const layer = await addLayer(layout, { entries: [tar.file("zeros", tar.zeros(200_000))] }, "none");
    const image = addImage(layout, { tag: "a:1", layers: [layer] });
    await using registry = await makeRegistry({ layouts: [layout] });
    await using proxy = await makeRegistryProxy(registry);
    let copies = 0;
    const copy = () => {
      copies += 1;
      return tryProgram("skopeo", [
        "copy",
        "--src-tls-verify=false",
        `docker://${proxy.address}/a:1`,
        `dir:${folder.path}/${copies}`,
      ]);
    };
    assert.equal((await copy()).status, 0);
    assert.deepEqual(proxy.blobsFetched().toSorted(), [layer.digest, image.configDigest].toSorted());
    assert.equal(proxy.requests.find(({ path }) => path.endsWith(layer.digest))?.bytes, layer.size);

    const start = performance.now();
    proxy.faults.bytesPerSecond = 200_000;
    assert.equal((await copy()).status, 0);
    assert.ok(performance.now() - start > 900, "a second's worth of bytes");
    delete proxy.faults.bytesPerSecond;

    proxy.faults.corrupt = layer.digest;
    assert.match((await copy()).stderr, /Digest did not match/);
    delete proxy.faults.corrupt;

    proxy.faults.cutAfter = 5 * layer.size;
    assert.notEqual((await copy(), await copy(), await copy()).status, 0);
  });
});

describe("newer programs", () => {
  test("see the caller's mounts and descriptor 3", async () => {
    assert.match(await runModern(["podman", "--version"]), / 5\.\d+/);
    assert.match(await runModern(["ostree", "--version"]), /2026\.\d+/);
    await using folder = await makeTemporaryFolder("seen");
    writeFileSync(join(folder.path, "note"), "passed on");
    const fd = openSync(join(folder.path, "note"), "r");
    const read = await runModern(["cat", "/proc/self/fd/3"], { fd3: fd }).finally(() => closeSync(fd));
    assert.equal(read, "passed on");

    await using programs = await makeModernPrograms(["ls"]);
    const script = `mount -t tmpfs tmpfs ${folder.path} && touch ${folder.path}/mounted && ls ${folder.path}`;
    const env = { PATH: programs.path };
    assert.equal(await runProgram("unshare", ["--mount", "sh", "-c", script], { env }), "mounted\n");
  });
});

async function sha256sum(bytes: Buffer): Promise<string> {
  return (await runProgram("sha256sum", [], { input: bytes })).slice(0, 64);
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stream })) return line;
  return "";
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
