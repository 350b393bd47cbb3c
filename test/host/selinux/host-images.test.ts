import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { addLayer } from "#fixtures/oci-layout.ts";
import { type ListedImageReport, onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { addBase, addNative, makeCommit } from "../native/native-images.ts";
import { debianPolicy } from "./debian-policy.ts";
import {
  assertLabelledAsOstreeDoes,
  assertShared,
  blobCommits,
  changes,
  contextFiles,
  entriesIn,
  filesIn,
  filesRead,
  labelIn,
  labelInErofs,
  listed,
  long,
  own,
  type Place,
  policyLayer,
  system,
  withParents,
  withPlace,
} from "./host-images.ts";

before(() => ensurePackages(["ostree", "selinux-utils", "policycoreutils", "attr", "e2fsprogs"]));

test("an image is labelled by its own policy, wherever in its layers that is", { timeout: 180_000 }, async (t) => {
  await withPlace(async (place) => {
    const { layout, sysroot, repository, add, pull, folder } = place;
    const base = await addLayer(layout, { entries: system });
    const policy = await policyLayer(layout);
    const top = await addLayer(layout, { entries: changes });
    add("1", base, policy, top);
    const first = await pull("1");

    await t.test("as ostree labels it", async () => {
      const all = await assertLabelledAsOstreeDoes(place, first.ostree.commit);
      const count = new Set([...all.values()].map(labelIn)).size;
      assert.ok(count > 10, `${count} labels`);
      assert.equal(labelIn(all.get("/usr/bin/bash")), "system_u:object_r:shell_exec_t:s0");
      assert.equal(labelIn(all.get("/var/tmp/labelled")), own.slice(0, -1), "the policy has none for it");
      assert.equal(labelIn(all.get("/var/tmp/not-labelled")), undefined);
      assert.notEqual(labelIn(all.get("/usr/bin/twins")), labelIn(all.get("/usr/share/doc/twins")), "two labels");
    });

    await t.test("its layers' commits have the same labels, whiteouts too", async () => {
      const merged = await listed(repository, first.ostree.commit);
      const whiteouts: string[] = [];
      for (const commit of await blobCommits(repository, [base, policy, top])) {
        for (const [path, line] of await listed(repository, commit)) {
          if (path.includes("/.wh.")) whiteouts.push(labelIn(line) ?? "none");
          else if (merged.has(path)) assert.equal(labelIn(line), labelIn(merged.get(path)), path);
        }
      }
      assert.deepEqual(whiteouts.toSorted(), ["system_u:object_r:bin_t:s0", "system_u:object_r:usr_t:s0"]);
    });

    await t.test("its content is shared", async () => {
      await assertShared(repository);
      assert.equal(first.ostree.account?.copied.bytes, 0);
      // Each once, but for the twins.
      assert.equal(filesRead(first), filesIn(system, entriesIn(await debianPolicy(), "etc"), changes) + 1);
    });

    await t.test("another version with that policy has nothing read again", async () => {
      const next = await addLayer(layout, { entries: [directory("usr"), file("usr/next", long("next"))] });
      add("2", base, policy, top, next);
      const second = await pull("2");
      assert.deepEqual(second.ostree.layers, { imported: 1, present: 3 });
      assert.equal(filesRead(second), 1);
      await assertLabelledAsOstreeDoes(place, second.ostree.commit);
      // Without memory the objects themselves tell their labels.
      rmSync(join(sysroot, "onehold/layers"), { recursive: true });
      add(
        "forgotten",
        base,
        policy,
        top,
        await addLayer(layout, { entries: [directory("usr"), file("usr/x", long("x"))] }),
      );
      const forgotten = await pull("forgotten");
      assert.deepEqual([forgotten.ostree.layers, filesRead(forgotten)], [{ imported: 1, present: 3 }, 1]);
    });

    const rule = (path: string) => `${path} -- system_u:object_r:changed_t:s0\n`;
    await t.test("where a version changes the policy, only files with other labels are read again", async () => {
      const rules = file(`${contextFiles}/file_contexts.local`, rule("/usr/bin/changes") + rule("/usr/bin/twins"));
      const other = await addLayer(layout, { entries: withParents(rules) });
      add("3", base, policy, top, other);
      const earlier = await blobCommits(repository, [base, policy, top]);
      const third = await pull("3");
      assert.equal(filesRead(third), 1 + 2);
      assert.deepEqual(third.ostree.layers, { imported: 2, present: 2 });
      const all = await assertLabelledAsOstreeDoes(place, third.ostree.commit);
      assert.equal(labelIn(all.get("/usr/bin/changes")), "system_u:object_r:changed_t:s0");
      const after = await blobCommits(repository, [base, policy, top]);
      assert.notEqual(after[0], earlier[0]);
      assert.deepEqual(after.slice(1), earlier.slice(1));
      assert.equal(
        labelIn((await listed(repository, after[0] ?? "")).get("/usr/bin/twins")),
        "system_u:object_r:changed_t:s0",
      );
    });

    await t.test("what is remembered makes no difference", async () => {
      const elsewhere = join(folder, "elsewhere");
      mkdirSync(elsewhere);
      for (const tag of ["3", "1"]) {
        const args = ["image", "pull", `oci:${layout.folder}:${tag}`];
        const { ostree } = await onehold<PullReport>(elsewhere, args);
        assert.equal(ostree?.commit, (await pull(tag)).ostree.commit);
      }
    });

    await t.test("without SELinux nothing is labelled, though known layers are", async () => {
      const config = withParents(file("etc/selinux/config", "SELINUX=disabled\n"));
      add("disabled", base, policy, top, await addLayer(layout, { entries: config }));
      const { ostree } = await pull("disabled");
      const labelled = [...(await listed(repository, ostree.commit))].filter(([, line]) => labelIn(line) !== undefined);
      assert.deepEqual(labelled.map(([path]) => path).toSorted(), ["/usr/bin/bash", "/var/tmp/labelled"]);
      add("none", base, top);
      const none = await pull("none");
      assert.equal(filesRead(none), 0, "all is there");
      const alone = join(folder, "alone");
      mkdirSync(alone);
      const fresh = await onehold<PullReport>(alone, ["image", "pull", `oci:${layout.folder}:none`]);
      assert.equal(fresh.ostree?.commit, none.ostree.commit);
    });

    await t.test("a policy that can't be used is refused, and nothing is changed", async () => {
      const bad = withParents(whiteout(`${contextFiles}/file_contexts`));
      add("broken", base, policy, await addLayer(layout, { entries: bad }));
      const state = async () => ({
        objects: readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" }).toSorted(),
        refs: await runProgram("ostree", [`--repo=${repository}`, "refs", "--list"]),
        tmp: readdirSync(join(repository, "tmp")),
      });
      const was = await state();
      const name = `oci:${layout.folder}:broken`;
      const { status, stderr } = await tryOnehold(sysroot, ["image", "pull", name]);
      assert.equal(status, 1);
      assert.match(stderr, /^error: the image's SELinux policy can't be used: there is no .*\/file_contexts$/m);
      assert.match(stderr, /^hint: Install a whole policy in the image, or none/m);
      assert.deepEqual(await state(), was);
      const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
      const image = images.find(({ notes }) => /SELinux policy can't be used/.test(notes.join()));
      assert.deepEqual(image?.stores, ["image store"], JSON.stringify(images));
    });
  });
});

test("a policy where it is not looked for first is found", { timeout: 120_000 }, async () => {
  await withPlace(async (place) => {
    const { layout, add, pull } = place;
    const elsewhere = entriesIn(await debianPolicy(), "etc/selinux").map((entry) => ({
      ...entry,
      name: entry.name.toString().replace(/^etc\/selinux/, "usr/share/selinux"),
    }));
    const base = await addLayer(layout, { entries: [...system, ...elsewhere] });
    const link = [directory("etc"), symlink("etc/selinux", "../share/selinux")];
    add("1", base, await addLayer(layout, { entries: link }));
    const first = await pull("1");
    const all = await assertLabelledAsOstreeDoes(place, first.ostree.commit);
    assert.equal(labelIn(all.get("/usr/bin/bash")), "system_u:object_r:shell_exec_t:s0");
  });
});

test("where files can only be hardlinked, labelled ones need a copy", { timeout: 120_000 }, async () => {
  const check = async (place: Place) => {
    const { layout, sysroot, add, pull } = place;
    add("1", await addLayer(layout, { entries: system }), await policyLayer(layout));
    const { status, stderr } = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:1`]);
    assert.equal(status, 1);
    assert.match(stderr, /files \(.*\) of .* can't be shared with the ostree repository/);
    const { ostree } = await pull("1", "--allow-copy");
    await assertLabelledAsOstreeDoes(place, ostree.commit);
  };
  await withPlace(check, { kind: "ext4" });
});

test("a derived layer has all of the image labelled anew, but not the commit below", { timeout: 120_000 }, async () => {
  await withPlace(async (place) => {
    const { folder, layout, repository, pull } = place;
    const exported = await makeCommit(folder);
    const base = await addBase(layout, exported);
    addNative(layout, "base", base, []);
    assert.equal(
      (await listed(repository, await pull("base").then((report) => `${report.ostree.commit}^`))).size > 10,
      true,
    );
    const derived = [...entriesIn(await debianPolicy(), "etc"), directory("usr"), file("usr/new", long("new"))];
    const top = await addLayer(layout, { entries: derived });
    addNative(layout, "derived", base, [top]);
    const { ostree } = await pull("derived");
    const all = await assertLabelledAsOstreeDoes(place, ostree.commit);
    assert.equal(labelIn(all.get("/usr/bin/tool")), "system_u:object_r:bin_t:s0");
    assert.deepEqual((await blobCommits(repository, base)).slice(0, 1), [exported.commit]);
    assert.equal(
      labelIn((await listed(repository, exported.commit)).get("/usr/bin/tool")),
      "system_u:object_r:usr_t:s0",
    );
    assert.equal(ostree.account?.copied.bytes, 0);
  });
});

interface BothReport {
  readonly ostree: { readonly commit: string };
  readonly composefs?: { readonly images: Readonly<Record<string, string>> };
}

test("with both stores each has its labels, and no byte is new; one's trouble is not the other's", {
  timeout: 120_000,
}, async () => {
  const check = async (place: Place) => {
    const { folder, layout, sysroot, repository, add, pull } = place;
    const boots = ["boot", "sysroot"].map((name) => directory(name));
    const layers = [await addLayer(layout, { entries: [...system, ...boots] }), await policyLayer(layout)];
    add("1", ...layers);
    const { composefs, ostree }: BothReport = await pull("1");
    await assertLabelledAsOstreeDoes(place, ostree.commit);
    await assertShared(repository);
    const boot = composefs?.images["composefs.image.boot.v1"] ?? JSON.stringify(composefs);
    const label = async (path: string) => {
      const image = join(sysroot, "composefs/objects", boot.slice(0, 2), boot.slice(2));
      return labelInErofs(image, join(folder, "mounted"), path);
    };
    assert.equal(await label("usr/bin/bash"), "system_u:object_r:shell_exec_t:s0");
    assert.equal(await label("etc/shadow"), "system_u:object_r:shadow_t:s0");

    const bad = await addLayer(layout, { entries: withParents(whiteout(`${contextFiles}/file_contexts`)) });
    add("broken", ...layers, bad);
    const { status, stderr } = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:broken`]);
    assert.equal(status, 1);
    assert.match(stderr, /SELinux policy can't be used/);
    const images = await onehold<ListedImageReport[]>(sysroot, ["image", "list"]);
    const image = images.find(({ notes }) => /SELinux policy can't be used/.test(notes.join()));
    assert.deepEqual(image?.stores.toSorted(), ["composefs", "image store"], JSON.stringify(images));
  };
  await withPlace(check, { backend: "both" });
});
