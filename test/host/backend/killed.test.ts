import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file, whiteout } from "#fixtures/tar-writer.ts";
import { noise } from "./hard-image.ts";
import { assertSound, assertStreams, snapshot } from "./repository.ts";

/** Those that a pull into one store alone passes, too, are in faults/killed.test.ts. */
const stages = ["sharing", "publishing", "refs", "composefs", "recording"] as const;

test("a pull into both stores that was killed is finished by the next one", { timeout: 180_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 600 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const top = ["boot", "run", "sysroot", "usr"].map((name) => directory(name, { mtime: 5 }));
    const base = await addLayer(layout, {
      entries: [...top, file("usr/large", noise(400_000, "large")), file("usr/goes", "x")],
    });
    const upper = await addLayer(layout, {
      entries: [directory("usr"), whiteout("usr/goes"), file("usr/new", noise(50_000, "new"))],
    });
    const image = addImage(layout, { tag: "1", layers: [base, upper], labels: { "containers.bootc": "1" } });
    const source = `oci:${layout.folder}:1`;
    const pull = ["image", "pull", source, "--pin"];

    const undisturbed = join(folder, "undisturbed");
    mkdirSync(undisturbed);
    await onehold(undisturbed, ["init", "--backend", "both"]);
    const expected = await onehold<PullReport>(undisturbed, pull);
    const expectedState = await stateOf(undisturbed);

    for (const stage of stages) {
      await t.test(`killed at "${stage}"`, async () => {
        const sysroot = join(folder, stage);
        mkdirSync(sysroot);
        await onehold(sysroot, ["init", "--backend", "both"]);
        const killed = await tryOnehold(sysroot, pull, { env: { ONEHOLD_KILL_AT: stage } });
        assert.equal(killed.signal ?? killed.status, killed.signal === null ? 137 : "SIGKILL", killed.stderr);
        // Whatever has a name by then is whole.
        await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
        const ended = await tryOnehold(sysroot, [...pull, "--json"]);
        assert.equal(ended.status, 0, ended.stderr);
        assert.match(ended.stderr, new RegExp(`clearing what .* left, which ended in stage "${stage}"`));
        const report = JSON.parse(ended.stdout) as PullReport;
        assert.deepEqual(report.composefs?.images, expected.composefs?.images);
        assert.equal(report.ostree?.commit, expected.ostree?.commit);
        assert.deepEqual(await stateOf(sysroot), expectedState);
        assertStreams(join(sysroot, "composefs"), layout, image, source);
        await assertSound(join(sysroot, "composefs"));
        await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
        const left = readdirSync(join(sysroot, "ostree/repo/tmp")).filter((name) => name.startsWith("onehold-"));
        assert.deepEqual([left, existsSync(join(sysroot, "onehold/operation.json"))], [[], false]);
      });
    }
  });
});

/** What a pull leaves, as far as it does not tell when it was. */
async function stateOf(sysroot: string) {
  const links = (folder: string) =>
    [...snapshot(join(sysroot, "composefs", folder))].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const objects = (folder: string) => [...snapshot(join(sysroot, folder, "objects")).keys()].toSorted();
  return {
    composefs: objects("composefs"),
    links: [links("streams"), links("images")],
    ostree: objects("ostree/repo"),
    refs: (await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "refs"])).split("\n").toSorted(),
    images: await onehold(sysroot, ["image", "list"]),
  };
}
