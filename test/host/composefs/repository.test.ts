import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { lockRepository } from "#stores/composefs/lock.ts";
import { createRepository, defaultSettings, openRepository } from "#stores/composefs/repository.ts";
import { clearStaging, makeStaging, stageObject } from "#stores/composefs/staging.ts";

async function withFolder(run: (folder: string) => void | Promise<void>): Promise<void> {
  await using folder = await makeTemporaryFolder("composefs-repository");
  await run(join(folder.path, "composefs"));
}

describe("a new repository", () => {
  test("is what cfsctl init makes: sha512, images of format V1, for its owner alone", () =>
    withFolder((folder) => {
      const { meta } = createRepository(folder);
      assert.deepEqual(meta, { algorithm: "sha512", format: 1, extraFormats: [], readOnlyFeatures: [] });
      assert.equal(statSync(folder).mode & 0o7777, 0o700);
      assert.equal(statSync(join(folder, "meta.json")).mode & 0o7777, 0o644);
      const text = readFileSync(join(folder, "meta.json"), "utf8");
      assert.ok(text.startsWith('{\n  "version": 1,\n  "algorithm": "fsverity-sha512-12",\n') && text.endsWith("}\n"));
    }));

  test("is left alone when it is made again, and not made into another", () =>
    withFolder((folder) => {
      createRepository(folder);
      const before = statSync(join(folder, "meta.json"));
      createRepository(folder);
      for (const change of [
        { algorithm: "sha256" },
        { format: 2 },
        { extraFormats: [2] },
        { verity: "yes" },
      ] as const) {
        assert.throws(() => createRepository(folder, { ...defaultSettings, ...change }), { code: "unsupported" });
      }
      assert.equal(statSync(join(folder, "meta.json")).ino, before.ino);
    }));

  test("that must have fs-verity is refused where there is none, and leaves no meta.json", () =>
    withFileSystem("xfs", { sizeMiB: 300 }, (root) => {
      const folder = join(root, "composefs");
      const settings = { ...defaultSettings, verity: "yes" } as const;
      assert.throws(() => createRepository(folder, settings), { code: "unsupported", message: /has no fs-verity/ });
      assert.ok(!existsSync(join(folder, "meta.json")));
    }));
});

describe("a repository that can't be used", () => {
  test("is none", () => withFolder((folder) => assert.throws(() => openRepository(folder), { code: "not-found" })));

  test("has no meta.json: an old one, of which the error says what to do", () =>
    withFolder((folder) => {
      createRepository(folder);
      rmSync(join(folder, "meta.json"));
      for (const use of [openRepository, createRepository]) {
        assert.throws(
          () => use(folder),
          (error: { code?: string; hint?: string }) => error.code === "unsupported" && /cfsctl/.test(error.hint ?? ""),
        );
      }
    }));

  test("has features that we do not know: it is read, not written", () =>
    withFolder((folder) => {
      mkdirSync(folder);
      const features = { "read-only-compatible": ["later"] };
      const meta = { version: 1, algorithm: "fsverity-sha256-12", features };
      writeFileSync(join(folder, "meta.json"), JSON.stringify(meta));
      const repository = openRepository(folder);
      assert.throws(() => makeStaging(repository), { code: "unsupported" });
      writeFileSync(join(folder, "meta.json"), JSON.stringify({ ...meta, features: { incompatible: ["later"] } }));
      assert.throws(() => openRepository(folder), { code: "unsupported" });
    }));
});

describe("the lock", () => {
  const tries = async (folder: string, kind: "--shared" | "--exclusive") =>
    (await tryProgram("flock", ["--nonblock", kind, folder, "true"])).status === 0;

  test("is flock's on the folder, once for all of the process", () =>
    withFolder(async (folder) => {
      const repository = createRepository(folder);
      const first = await lockRepository(repository, "shared");
      const second = await lockRepository(repository, "shared");
      await assert.rejects(lockRepository(repository, "exclusive"), { code: "busy" });
      assert.deepEqual([await tries(folder, "--shared"), await tries(folder, "--exclusive")], [true, false]);
      first[Symbol.dispose]();
      assert.equal(await tries(folder, "--exclusive"), false);
      second[Symbol.dispose]();
      assert.equal(await tries(folder, "--exclusive"), true);
      using _ = await lockRepository(repository, "exclusive");
      assert.equal(await tries(folder, "--shared"), false);
      await assert.rejects(lockRepository(repository, "shared"), { code: "busy" });
    }));

  test("is waited for", () =>
    withFolder(async (folder) => {
      const repository = createRepository(folder);
      const ready = join(folder, "..", "ready");
      const other = runProgram("flock", ["--shared", folder, "sh", "-c", `touch ${ready}; sleep 1`]);
      while (!existsSync(ready)) await new Promise((resolve) => setTimeout(resolve, 10));
      let waited = 0;
      const options = { onWait: () => waited++ };
      {
        using _ = await lockRepository(repository, "shared", options);
        assert.equal(waited, 0);
      }
      const aborted = lockRepository(repository, "exclusive", { signal: AbortSignal.timeout(50) });
      await assert.rejects(aborted, { code: "interrupted" });
      using _ = await lockRepository(repository, "exclusive", options);
      assert.equal(waited, 1);
      await other;
    }));
});

test("staging folders of killed imports are cleared, those of living ones not", () =>
  withFolder((folder) => {
    const repository = createRepository(folder);
    using living = makeStaging(repository);
    mkdirSync(join(folder, ".onehold-dead/ab"), { recursive: true });
    writeFileSync(join(folder, ".onehold-dead/ab/cd"), "half");
    assert.equal(clearStaging(repository), 1);
    assert.deepEqual([existsSync(join(folder, ".onehold-dead")), existsSync(living.path)], [false, true]);
  }));

test("an object is named as fsverity names it, readable for all whatever the umask", () =>
  withFolder((folder) => {
    const repository = createRepository(folder, { ...defaultSettings, algorithm: "sha256" });
    const umask = process.umask(0o077);
    try {
      using staging = makeStaging(repository);
      const id = stageObject(repository, staging, Buffer.from("hello world"));
      assert.equal(id, "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64");
      const same = stageObject(repository, staging, [Buffer.from("hello"), Buffer.from(" world")]);
      assert.equal(same, id);
      const file = join(staging.path, id.slice(0, 2), id.slice(2));
      assert.equal(readFileSync(file, "utf8"), "hello world");
      assert.equal(statSync(file).mode & 0o7777, 0o644);
    } finally {
      process.umask(umask);
    }
  }));
