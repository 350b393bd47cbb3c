import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openDirectory } from "#linux/descriptor.ts";
import { bindMount, MS_RDONLY, mount, mountTable, mountTmpfs, unmount } from "#linux/mounts.ts";
import { isErrno } from "#linux/system-error.ts";

async function makeFolders(...names: string[]): Promise<AsyncDisposable & { paths: string[] }> {
  const folder = await makeTemporaryFolder("mounts");
  const paths = names.map((name) => join(folder.path, name));
  for (const path of paths) mkdirSync(path);
  return { paths, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

/** What findmnt says of one mount point. */
async function findmnt(path: string): Promise<Record<string, unknown>> {
  const columns = "ID,PARENT,MAJ:MIN,FSROOT,TARGET,VFS-OPTIONS,FSTYPE,SOURCE,FS-OPTIONS,PROPAGATION";
  const printed: unknown = JSON.parse(
    await runProgram("findmnt", ["--json", "--nofsroot", "-o", columns, "--mountpoint", path]),
  );
  return (printed as { filesystems: Record<string, unknown>[] }).filesystems[0] ?? {};
}

const entryOf = (path: string) =>
  mountTable()
    .filter((entry) => entry.mountPoint === path)
    .at(-1);

test("the table agrees with findmnt, for paths of any form", async () => {
  await using folders = await makeFolders("plain", "a b\tc\nd\\040#é", "-");
  for (const path of folders.paths) {
    mount("odd source", path, { type: "tmpfs", data: "size=1m" });
    const entry = entryOf(path);
    assert.ok(entry !== undefined, path);
    const { propagation, ...found } = await findmnt(path);
    assert.deepEqual(
      {
        id: entry.id,
        parent: entry.parentId,
        "maj:min": `${entry.major}:${entry.minor}`,
        fsroot: entry.root,
        target: entry.mountPoint,
        "vfs-options": entry.options.join(","),
        fstype: entry.type,
        source: entry.source,
        "fs-options": entry.superOptions.join(","),
      },
      { ...found, "maj:min": String(found["maj:min"]).trim() },
    );
    assert.equal(
      String(propagation).includes("shared"),
      entry.propagation.some((tag) => tag.startsWith("shared:")),
    );
  }
  const all = (await runProgram("findmnt", ["--list", "--noheadings", "-o", "ID"])).trim().split(/\s+/).map(Number);
  const ours = new Set(mountTable().map((entry) => entry.id));
  for (const path of folders.paths) assert.ok(all.includes(entryOf(path)?.id ?? -1));
  assert.ok(all.length > 5 && all.filter((id) => ours.has(id)).length > 5);
});

test("a tmpfs is empty, for root, and goes when it is unmounted", async () => {
  await using folders = await makeFolders("target");
  const [target = ""] = folders.paths;
  writeFileSync(join(target, "below"), "");
  mountTmpfs(target);
  assert.deepEqual(readdirSync(target), []);
  assert.equal((await runProgram("stat", ["-c", "%a", target])).trim(), "700");
  assert.match(String((await findmnt(target))["vfs-options"]), /nosuid.*nodev/);
  unmount(target);
  assert.deepEqual(readdirSync(target), ["below"]);
  assert.throws(
    () => unmount(target),
    (error) => isErrno(error, "EINVAL"),
  );
});

test("a bind mount shows a folder twice; a read-only one can't be written, and keeps its other flags", async () => {
  await using folders = await makeFolders("source", "twice", "read-only");
  const [source = "", twice = "", readOnly = ""] = folders.paths;
  mountTmpfs(source);
  writeFileSync(join(source, "file"), "text");
  bindMount(source, twice);
  bindMount(source, readOnly, { readOnly: true });
  assert.equal(readFileSync(join(readOnly, "file"), "utf8"), "text");
  writeFileSync(join(twice, "file"), "new");
  assert.equal(readFileSync(join(readOnly, "file"), "utf8"), "new");
  assert.throws(() => writeFileSync(join(readOnly, "file"), ""), { code: "EROFS" });
  const options = entryOf(readOnly)?.options ?? [];
  for (const option of ["ro", "nosuid", "nodev"]) assert.ok(options.includes(option), option);
  assert.deepEqual(entryOf(readOnly)?.options, String((await findmnt(readOnly))["vfs-options"]).split(","));
});

test("what can't be made read-only is not left mounted, and failures name the target", async () => {
  await using folders = await makeFolders("target");
  const [target = ""] = folders.paths;
  const fails = (action: () => void, ...names: string[]) =>
    assert.throws(action, (error) => isErrno(error, ...names) && String(error).includes(target));
  fails(() => bindMount("/there/is/none", target, { readOnly: true }), "ENOENT");
  fails(() => mount("none", target, { type: "no-such-type" }), "ENODEV");
  fails(() => mount("none", target, { type: "tmpfs", flags: MS_RDONLY, data: "nonsense=1" }), "EINVAL");
  assert.equal(entryOf(target), undefined);
});

test("a busy mount is unmounted only if it is detached", async () => {
  await using folders = await makeFolders("target");
  const [target = ""] = folders.paths;
  mountTmpfs(target);
  using busy = openDirectory(target);
  assert.ok(busy.fd >= 0);
  assert.throws(
    () => unmount(target),
    (error) => isErrno(error, "EBUSY"),
  );
  unmount(target, { detach: true });
  assert.notEqual((await tryProgram("mountpoint", ["-q", target])).status, 0);
});

test("a symlink to a mount point is not followed", async () => {
  await using folders = await makeFolders("target");
  const [target = ""] = folders.paths;
  mountTmpfs(target);
  symlinkSync(target, `${target}-link`);
  assert.throws(
    () => unmount(`${target}-link`),
    (error) => isErrno(error, "EINVAL"),
  );
  assert.equal((await tryProgram("mountpoint", ["-q", target])).status, 0);
});
