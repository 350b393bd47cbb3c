import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tryPodman } from "#fixtures/containers.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeRegistry, type Registry } from "#fixtures/registry.ts";
import { file } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { boundUnits, deploymentsOf, installHost, listBelow, SmallImages } from "./small-hosts.ts";

/** Those of pulling a host's image have a test of their own. */
const stages = [
  ["stores", "pulled", "refs", "checking", "bound images", "bound images pulled"],
  ["naming", "stateroot", "deploying", "deployed", "finishing"],
].flat();

interface Source {
  readonly registry: Registry;
  readonly args: readonly string[];
  readonly app: string;
}

async function withSource(run: (source: Source, folder: string) => Promise<void>): Promise<void> {
  await using registry = await makeRegistry();
  await using folder = await makeTemporaryFolder("killed");
  const images = new SmallImages(folder.path, registry);
  const app = `${registry.address}/app:1`;
  await images.push("app:1", [[file("app", "app")]]);
  await images.host("host:1", boundUnits({ "app.image": app }));
  const target = ["--target-imgref", "registry.example/host:stable"];
  const args = ["--source-imgref", `${registry.address}/host:1`, ...target, "--tls-verify=false", "--karg", "quiet"];
  await run({ registry, args, app }, folder.path);
}

/** All that a boot needs, by names, owners, modes and sizes; with the UUID taken out. */
async function hostBelow(root: string): Promise<readonly string[]> {
  const entries = join(root, "boot/loader/entries");
  const texts = readdirSync(entries).map((name) => readFileSync(join(entries, name), "utf8"));
  return [
    await listBelow(root, "boot"),
    await listBelow(root, "ostree/deploy"),
    ...texts.map((text) => text.replace(/root=UUID=\S+/, "root=UUID")),
    readdirSync(root).toSorted().join(" "),
    readdirSync(join(root, "onehold")).toSorted().join(" "),
  ];
}

async function assertWhole(root: string, expected: readonly string[], app: string): Promise<void> {
  assert.deepEqual(await hostBelow(root), expected);
  assert.equal((await deploymentsOf(root)).length, 1);
  await runProgram("ostree", [`--repo=${join(root, "ostree/repo")}`, "fsck", "--quiet"]);
  const listed = await tryPodman(join(root, "ostree/bootc/storage"), ["image", "exists", app]);
  assert.equal(listed.status, 0, listed.stderr);
}

test("an install that was killed is finished by the next one", { timeout: 300_000 }, async (t) => {
  await withSource(async ({ args, app }) => {
    const expected = await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
      await installHost(root, args);
      return hostBelow(root);
    });
    for (const stage of stages) {
      await t.test(`killed at "${stage}"`, async () => {
        await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
          const killed = await tryOnehold("/nonexistent", ["install", "to-filesystem", root, ...args], {
            env: { ONEHOLD_KILL_AT: stage },
          });
          assert.equal(killed.signal ?? killed.status, killed.signal === null ? 137 : "SIGKILL", killed.stderr);
          await installHost(root, args);
          await assertWhole(root, expected, app);
        });
      });
    }
  });
});

test("an install that was killed while libostree deployed is finished by the next one", {
  timeout: 120_000,
}, async () => {
  await withSource(async ({ args, app }, folder) => {
    // A program in libostree's place, which kills its parent after a while: and with it, itself.
    const programs = join(folder, "programs");
    mkdirSync(programs);
    const script = `#!/bin/sh
case "$*" in *"admin deploy"*) (sleep "$KILL_AFTER"; kill -9 $PPID) & ;; esac
exec /usr/bin/ostree "$@"
`;
    writeFileSync(join(programs, "ostree"), script, { mode: 0o755 });
    const expected = await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
      await installHost(root, args);
      return hostBelow(root);
    });
    let kills = 0;
    for (const seconds of ["0.01", "0.04", "0.08"]) {
      await withFileSystem("xfs", { sizeMiB: 320 }, async (root) => {
        const env = { PATH: `${programs}:${process.env["PATH"]}`, KILL_AFTER: seconds };
        await tryOnehold("/nonexistent", ["install", "to-filesystem", root, ...args], { env });
        if (existsSync(join(root, "onehold/install.json"))) {
          kills += 1;
          await installHost(root, args);
        }
        await assertWhole(root, expected, app);
      });
    }
    assert.ok(kills > 0, "no kill came in time");
  });
});
