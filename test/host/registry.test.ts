import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { addImage, addLayer, addManifestList, blobPath, makeOciLayout } from "#fixtures/oci-layout.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage } from "#fixtures/registry.ts";
import { makeRegistryProxy } from "#fixtures/registry-proxy.ts";
import * as tar from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { soon, startFixture } from "./fixture-owner.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

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
      assert.equal(`sha256:${sha256(Buffer.from(raw))}`, digest);
    }
    const inspected = await runProgram("skopeo", [
      "inspect",
      "--tls-verify=false",
      `docker://${registry.address}/list:1`,
    ]);
    assert.match(inspected, /"containers.bootc": "1"/);
    assert.equal(sha256(readFileSync(blobPath(layout, zstd.digest))), zstd.digest.slice(7));
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
    const owner = await startFixture("registry.ts", "makeRegistry()", "port");
    const port = Number(owner.printed);
    assert.equal(await listens(port), true);
    await owner.kill();
    assert.ok(await soon(async () => !(await listens(port))));
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
