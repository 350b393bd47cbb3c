import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Digest, hexOf } from "#base/digest.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, hardlink, opaque, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { listTree } from "#fixtures/tree-listing.ts";
import { assertSameTree } from "../projection/expected-tree.ts";
import { commitLayer } from "./encapsulated.ts";
import { addBase, addNative, chunksOf, content, makeCommit, nameOf, objectOf } from "./native-images.ts";
import { bomb, escapingName, rubbishCommit, tooDeep } from "./hostile-commits.ts";

const derived: readonly Entry[] = [
  directory("etc"),
  file("etc/passwd", "root\nuser\n", { mode: 0o600, uid: 1 }),
  file("etc/new", "new"),
  whiteout("etc/gone"),
  directory("usr"),
  directory("usr/bin", { mode: 0o711, gid: 3 }),
  whiteout("usr/bin/goes"),
  directory("usr/lib", { mode: 0o755 }),
  directory("usr/lib/opaque", { mode: 0o700 }),
  opaque("usr/lib/opaque"),
  file("usr/lib/opaque/new", "new"),
  symlink("usr/link", "bin"),
  directory("opt"),
  file("opt/dropped", "no place in an ostree system"),
  directory("run"),
  file("run/dropped", "x"),
  whiteout("boot"),
  directory("var"),
  file("var/kept", "kept"),
];

/** The same to the tree: what the merge commit must check out as. */
const deriveTree = `
lower='setfattr -h -x security.selinux'
printf 'root\nuser\n' >usr/etc/passwd; $lower usr/etc/passwd; chmod 600 usr/etc/passwd; chown 1 usr/etc/passwd
printf new >usr/etc/new; chmod 644 usr/etc/new; rm usr/etc/gone usr/etc/hostname usr/etc/resolv.conf
rm usr/bin/goes; chmod 711 usr/bin; chgrp 3 usr/bin
rm -r usr/lib/opaque; mkdir -m 700 usr/lib/opaque; printf new >usr/lib/opaque/new; chmod 644 usr/lib/opaque/new
ln -s bin usr/link; mkdir -m 755 run; printf kept >var/kept; chmod 644 var/kept
rm usr/bin/patched; printf 'patched by a later layer' >usr/bin/patched; chmod 755 usr/bin/patched
for each in usr usr/etc usr/bin usr/lib var; do $lower $each; done
`;

test("an image built on an ostree commit keeps that commit, and its chunks, as ostree-ext does", {
  timeout: 180_000,
}, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 600 }, async (folder) => {
    const exported = await makeCommit(folder);
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addBase(layout, exported);
    const patched = `sysroot/ostree/repo/objects/${objectOf(exported, "usr/bin/patched")}`;
    // A file that was a hardlink to its object, changed by a build: the object's name comes along.
    const changed = [
      file(patched, "patched by a later layer", { mode: 0o755, mtime: 1_700_000_000 }),
      hardlink("usr/bin/patched", patched, { mode: 0o755 }),
    ];
    const top = await addLayer(layout, { entries: [...derived, ...changed] });
    const image = addNative(layout, "1", base, [top]);
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");
    const ostree = (...args: string[]) => runProgram("ostree", [`--repo=${repository}`, ...args]);

    const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:1`]);
    const merge = report.ostree?.commit ?? "";

    await t.test("the refs are those of ostree-ext", async () => {
      await ostree("fsck");
      const refs = await revisions(repository);
      const [first, ...chunks] = base;
      assert.equal(refs.get(blobRefOf(first?.digest)), exported.commit);
      for (const [i, chunk] of chunks.entries()) {
        const commit = refs.get(blobRefOf(chunk.digest)) ?? "";
        const listed = (await ostree("ls", "-C", commit)).trim().split("\n");
        const mapped = listed.slice(1).map((line) => /([0-9a-f]{64}) \/([0-9a-f]{64})/.exec(line)?.slice(1));
        const expected = chunksOf(exported)[i + 1] ?? [];
        assert.deepEqual(
          mapped,
          expected.toSorted().map((checksum) => [checksum, checksum]),
        );
      }
      assert.equal((await ostree("rev-parse", `${merge}^`)).trim(), exported.commit);
      const manifest = await ostree("show", "--print-metadata-key=ostree.manifest-digest", merge);
      assert.equal(manifest.trim(), `'${image.manifestDigest}'`);
      const detached = await ostree("show", "--print-detached-metadata-key=signature", exported.commit);
      assert.equal(detached.trim(), "'signed'");
    });

    await t.test("the base checks out as it was, the merge as its layers say", async () => {
      const tree = join(folder, "tree");
      await ostree("checkout", exported.commit, join(folder, "base"));
      assertSameTree(await listTree(join(folder, "base")), await listTree(tree));
      await runProgram("sh", ["-euc", deriveTree], { cwd: tree });
      await ostree("checkout", merge, join(folder, "checkout"));
      assertSameTree(await listTree(join(folder, "checkout")), await listTree(tree));
      const dropped = report.ostree?.leftOut?.byRule;
      assert.deepEqual(dropped, { "/opt": 2, "/run": 1, "/sysroot": 6 });
    });

    await t.test("content is shared with the image store", async () => {
      const script = `find "$1" -name '*.file' -type f -size +0 -exec filefrag -v {} +`;
      const printed = await runProgram("sh", ["-c", script, "sh", join(repository, "objects")]);
      const extents = printed.split("\n").filter((line) => /^\s*\d+:/.test(line));
      assert.ok(extents.length > 10, printed);
      assert.deepEqual(
        extents.filter((line) => !line.includes("shared")),
        [],
      );
      assert.equal(report.ostree?.account?.copied.bytes, 0);
    });

    await t.test("a second version imports its own layer only; removing all leaves nothing", async () => {
      const next = await addLayer(layout, { entries: [directory("usr"), file("usr/next", "next")] });
      addNative(layout, "2", base, [next]);
      const second = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:2`]);
      assert.deepEqual(second.ostree?.layers, { imported: 1, present: 3 });
      await ostree("fsck");
      await ostree("checkout", "--subpath=/usr/bin/tool", second.ostree?.commit ?? "", join(folder, "second"));
      for (const { digest } of [report, second]) await onehold(sysroot, ["image", "remove", digest]);
      assert.deepEqual(objectsIn(repository), []);
    });
  });
});

test("derived layers with /etc alone, and with a marker that hides all below", { timeout: 120_000 }, async () => {
  await withFileSystem("xfs", { sizeMiB: 600 }, async (folder) => {
    const exported = await makeCommit(folder);
    const layout = makeOciLayout(join(folder, "layout"));
    const base = await addBase(layout, exported);
    const onlyEtc = await addLayer(layout, { entries: [directory("etc", { mode: 0o711 }), file("etc/only", "only")] });
    const hiding = await addLayer(layout, {
      entries: [file(".wh..wh..opq", ""), directory("usr"), file("usr/own", "own")],
    });
    addNative(layout, "etc", base, [onlyEtc]);
    addNative(layout, "hiding", base, [hiding]);
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const tree = join(folder, "tree");
    const pullAndCompare = async (tag: string, derive: string) => {
      const { ostree } = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:${tag}`]);
      const checkout = join(folder, `checkout-${tag}`);
      const expected = join(folder, `expected-${tag}`);
      await runProgram("ostree", [
        `--repo=${join(sysroot, "ostree/repo")}`,
        "checkout",
        ostree?.commit ?? "",
        checkout,
      ]);
      await runProgram("cp", ["-a", tree, expected]);
      const dropped = "rm -f usr/etc/hostname usr/etc/resolv.conf\nplain='setfattr -h -x security.selinux'\n";
      await runProgram("sh", ["-euc", dropped + derive], { cwd: expected });
      assertSameTree(await listTree(checkout), await listTree(expected));
      return ostree?.leftOut?.byRule;
    };
    // /usr is of the base, for the layer says nothing of it; what ostree-ext's rules drop is counted.
    const etc = "printf only >usr/etc/only; chmod 644 usr/etc/only; chmod 711 usr/etc; $plain usr/etc";
    assert.deepEqual(await pullAndCompare("etc", etc), {});
    const own = "printf own >usr/own; chmod 644 usr/own; $plain usr";
    assert.deepEqual(await pullAndCompare("hiding", own), { "/.wh..wh..opq": 1 });
    await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck"]);
  });
});

test("an ACL is imported where it is shown once, and refused for what it is where it is not", {
  timeout: 120_000,
}, async () => {
  await withFileSystem("btrfs", { sizeMiB: 400 }, async (folder) => {
    const exported = await makeCommit(folder, "setfacl -m u:7:r usr/bin/patched");
    const layout = makeOciLayout(join(folder, "layout"));
    addNative(layout, "1", await addBase(layout, exported), []);
    const pull = ["image", "pull", `oci:${layout.folder}:1`];
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    await onehold(sysroot, pull);
    await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck"]);
    await withFileSystem("xfs", { sizeMiB: 400 }, async (other) => {
      const { status, stderr } = await tryOnehold(other, pull);
      assert.equal(status, 1);
      assert.match(stderr, /^error: ostree object [0-9a-f]{64} of the image can't be stored here: .*SGI_ACL_FILE/m);
      assert.match(stderr, /^hint: XFS shows ACLs under a second name/m);
      assert.deepEqual(objectsIn(join(other, "ostree/repo")), []);
    });
  });
});

test("damaged ostree layers are refused and change nothing", { timeout: 180_000 }, async (t) => {
  await withFileSystem("xfs", { sizeMiB: 600 }, async (folder) => {
    const exported = await makeCommit(folder);
    const layout = makeOciLayout(join(folder, "layout"));
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "ostree/repo");
    const good = await addLayer(layout, { entries: [directory("usr"), file("usr/file", "file")] });
    addImage(layout, { tag: "good", layers: [good], labels: { "containers.bootc": "1" } });
    await onehold(sysroot, ["image", "pull", `oci:${layout.folder}:good`]);
    const state = async () => ({ objects: objectsIn(repository), refs: [...(await revisions(repository))] });
    const before = await state();

    const all = chunksOf(exported).flat();
    const whole = commitLayer(exported, all);
    const isObject = (path: string) => (entry: Entry) => entry.name.toString().endsWith(path);
    const tool = objectOf(exported, "usr/bin/tool");
    const replace = (path: string, bytes: Buffer | string) =>
      whole.map((entry) => (isObject(path)(entry) ? { ...entry, content: bytes } : entry));
    const commit = `${exported.commit.slice(0, 2)}/${exported.commit.slice(2)}.commit`;
    const cases: Record<string, { entries: readonly Entry[]; error: RegExp }> = {
      "an object whose content does not match its name": {
        entries: replace(tool, randomBytes(content.length)),
        error: /its name says/,
      },
      "an object whose mode does not match its name": {
        entries: whole.map((entry) => (entry.mode === 0o104755 ? { ...entry, mode: 0o100755 } : entry)),
        error: /its name says/,
      },
      "a missing file object": {
        entries: commitLayer(
          exported,
          all.filter((checksum) => !isObject(tool)({ name: nameOf(checksum), flag: "" })),
        ),
        error: /object [0-9a-f]{64} of \/usr\/bin\/tool is neither in the image nor/,
      },
      "a missing directory": {
        entries: whole.filter((entry) => !entry.name.toString().endsWith(".dirtree")),
        error: /directory \/ is neither in the image nor/,
      },
      "no commit": { entries: whole.filter((entry) => !isObject(commit)(entry)), error: /has 0 commits, not one/ },
      "a commit that does not match its name": {
        entries: replace(commit, "no commit"),
        error: /does not have its checksum/,
      },
      "a second commit": {
        entries: [...whole, ...rubbishCommit()],
        error: /has 2 commits, not one/,
      },
      "a commit that is rubbish under its right name": {
        entries: rubbishCommit(),
        error: /commit/,
      },
      "a directory with a name that leads out of it": {
        entries: escapingName(),
        error: /"\.\." which no file can have/,
      },
      "directories that stand for 2^40 names": {
        entries: bomb(),
        error: /makes a tree of too many names/,
      },
      "directories that are too deep": { entries: tooDeep(), error: /is too deep in its tree/ },
      "xattrs that are rubbish": {
        entries: whole.map((entry) =>
          entry.name.toString().endsWith(".file-xattrs") ? { ...entry, content: Buffer.from([1, 2, 255]) } : entry,
        ),
        error: /extended attributes/,
      },
    };
    let tag = 0;
    for (const [what, { entries, error }] of Object.entries(cases)) {
      await t.test(what, async () => {
        tag += 1;
        addNative(layout, `${tag}`, [await addLayer(layout, { entries })], []);
        const ended = await tryOnehold(sysroot, ["image", "pull", `oci:${layout.folder}:${tag}`]);
        assert.equal(ended.status, 1, ended.stderr);
        assert.match(ended.stderr, error);
        assert.doesNotMatch(ended.stderr, /image store's copy/, "the store is not to blame");
        assert.doesNotMatch(ended.stderr, /\n\s+at /, "no stack trace");
        assert.deepEqual(await state(), before);
      });
    }
    await runProgram("ostree", [`--repo=${repository}`, "fsck"]);
  });
});

async function revisions(repository: string): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  const list = await runProgram("ostree", [`--repo=${repository}`, "refs"]);
  for (const ref of list.split("\n").filter((line) => line !== "")) {
    refs.set(ref, (await runProgram("ostree", [`--repo=${repository}`, "rev-parse", ref])).trim());
  }
  return refs;
}

function blobRefOf(digest: Digest | undefined): string {
  return `ostree/container/blob/sha256_3A_${digest === undefined ? "" : hexOf(digest)}`;
}

function objectsIn(repository: string): string[] {
  return readdirSync(join(repository, "objects"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.includes("."))
    .toSorted();
}
