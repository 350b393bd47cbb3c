import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { untag } from "#stores/containers-storage/remove.ts";
import { withExclusiveLock, withSharedLock } from "#stores/containers-storage/store-lock.ts";
import { findImage, listImages, openImageStore } from "#stores/containers-storage/store.ts";
import { addTwoImages, makeTestStore, type Podman, podmanAt, pull, versions } from "./podman-store.ts";

/** Holds a POSIX record lock as podman does, until its input ends. The struct is that of 64-bit Linux. */
const holder = String.raw`
  use Fcntl;
  open(my $file, "+<", $ARGV[0]) or die "$ARGV[0]: $!";
  my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $lock) or die "fcntl: $!";
  syswrite(STDOUT, "held");
  sysread(STDIN, my $end, 1);
`;

test("locks of podman's kind are waited for, and never by reading", async () => {
  await using store = await makeTestStore("4.3");
  await addTwoImages(store.layout);
  await pull(store, "app");
  const opened = openImageStore(store.podman.root);
  const expected = listImages(opened);
  for (const path of [
    "overlay-layers/layers.lock",
    "overlay-images/images.lock",
    "overlay-containers/containers.lock",
  ]) {
    await using held = await holdLock(join(store.podman.root, path));
    let waits = 0;
    const wait = { timeoutMs: 50, onWait: () => (waits += 1) };
    await assert.rejects(
      withExclusiveLock(opened, () => assert.fail(), wait),
      { code: "busy", message: /image store/ },
    );
    assert.equal(waits, 1, path);
    assert.deepEqual(listImages(openImageStore(store.podman.root)), expected, "without a lock");
    if (path.includes("containers"))
      assert.equal(await withSharedLock(opened, () => 1), 1, "containers are not locked for reading");
    else
      await assert.rejects(
        withSharedLock(opened, () => assert.fail(), { timeoutMs: 50 }),
        { code: "busy" },
      );
    const later = withExclusiveLock(opened, () => "done");
    await held[Symbol.asyncDispose]();
    assert.equal(await later, "done");
  }
});

test("an additional store is not locked for changes", async () => {
  await using store = await makeTestStore("4.3");
  await addTwoImages(store.layout);
  const id = await pull(store, "app");
  const [additional] = openImageStore(store.folder, { additional: [store.podman.root] }).additional;
  assert.ok(additional);
  await assert.rejects(untag(additional, { id }, "name"), { code: "unsupported" });
});

for (const version of versions) {
  describe(`podman ${version}`, () => {
    test("waits while its locks are held", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      await pull(store, "app");
      const opened = openImageStore(store.podman.root);
      assert.equal(await endsMeanwhile(store.podman, (work) => withExclusiveLock(opened, work)), false);
      assert.equal(
        await endsMeanwhile(store.podman, (work) => withSharedLock(opened, work)),
        false,
        "it opens its own store for writing",
      );
      const borrower = podmanAt(version, join(store.folder, "b"), {
        global: ["--storage-opt", `additionalimagestore=${store.podman.root}`],
        cwd: store.folder,
      });
      assert.equal(
        await endsMeanwhile(borrower, (work) => withSharedLock(opened, work)),
        true,
        "not the store of another",
      );
      assert.equal(await endsMeanwhile(borrower, (work) => withExclusiveLock(opened, work)), false);
    });

    test("sees a change at once where it runs as a service", async () => {
      await using store = await makeTestStore(version);
      await addTwoImages(store.layout);
      const id = await pull(store, "app");
      const opened = openImageStore(store.podman.root);
      const socket = join(store.folder, "podman.sock");
      const [program, ...args] = await store.podman.command("system", "service", "--time", "0", `unix://${socket}`);
      const service = spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], {
        stdio: "ignore",
        detached: true,
      });
      try {
        while (!existsSync(socket)) await sleep(20);
        const [name] = await namesInService(socket);
        assert.ok(name);
        await untag(opened, { id }, name);
        assert.deepEqual(await namesInService(socket), []);
        assert.ok(findImage(opened, { id }));
      } finally {
        // The group: podman's own process is a child of unshare's.
        if (service.pid !== undefined) process.kill(-service.pid, "SIGKILL");
        await once(service, "close");
      }
    });
  });
}

async function holdLock(path: string): Promise<AsyncDisposable> {
  const child = spawn("perl", ["-e", holder, path], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "close");
  await Promise.race([once(child.stdout, "data"), ended.then(() => assert.fail("no lock"))]);
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended;
    },
  };
}

/** Whether `podman images` comes to its end while a lock is held. It must in any case, afterwards. */
async function endsMeanwhile(
  podman: Podman,
  hold: (work: () => Promise<boolean>) => Promise<boolean>,
): Promise<boolean> {
  const started = performance.now();
  await podman.run("images");
  const usual = performance.now() - started;
  let listing: Promise<string> | undefined;
  const ended = await hold(async () => {
    listing = podman.run("images");
    return await Promise.race([listing.then(() => true), sleep(usual * 3 + 500, false)]);
  });
  await listing;
  return ended;
}

async function namesInService(socketPath: string): Promise<string[]> {
  const body = await new Promise<string>((resolve, reject) => {
    const request = get({ socketPath, path: "/v4.0.0/libpod/images/json" }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => resolve(Buffer.concat(chunks).toString()));
    });
    request.on("error", reject);
  });
  const images = v.parse(v.array(v.object({ RepoTags: v.nullable(v.array(v.string())) })), JSON.parse(body));
  return images.flatMap(({ RepoTags }) => RepoTags ?? []);
}
