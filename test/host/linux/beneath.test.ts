import assert from "node:assert/strict";
import { constants, fstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openBeneath, openInRoot, readBeneath } from "#linux/beneath.ts";
import { O_TMPFILE, openDirectory } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;

/** root/inside/file, outside/secret, and symlinks in root. */
async function makeTree(): Promise<TemporaryFolder & { root: string }> {
  const folder = await makeTemporaryFolder("beneath");
  const root = join(folder.path, "root");
  for (const path of ["root/inside", "outside"]) mkdirSync(join(folder.path, path), { recursive: true });
  writeFileSync(join(root, "inside/file"), "inside");
  writeFileSync(join(folder.path, "outside/secret"), "secret");
  const links = {
    relative: "inside/file",
    up: "inside/../inside/file",
    out: "../outside/secret",
    absolute: join(root, "inside/file"),
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, name));
  symlinkSync("../..", join(root, "inside/parents"));
  return { ...folder, root };
}

test("what stays inside is opened", async () => {
  await using tree = await makeTree();
  using root = openDirectory(tree.root);
  for (const path of ["inside/file", "./inside/../inside/file", "relative", "up", Buffer.from("inside/file")]) {
    using file = openBeneath(root.fd, path, O_RDONLY);
    assert.equal(readFileSync(file.fd, "utf8"), "inside");
  }
});

test("what leads out is refused, though a plain open would do it", async () => {
  await using tree = await makeTree();
  using root = openDirectory(tree.root);
  for (const path of [
    "../outside/secret",
    "inside/../../outside/secret",
    "out",
    "absolute",
    "inside/parents/outside/secret",
    "/etc/passwd",
  ]) {
    readFileSync(path.startsWith("/") ? path : join(tree.root, path));
    assert.throws(
      () => openBeneath(root.fd, path, O_RDONLY),
      (error) => isErrno(error, "EXDEV"),
      path,
    );
  }
});

test("within a root of its own, links lead where they would after chroot", async () => {
  await using tree = await makeTree();
  using root = openDirectory(tree.root);
  symlinkSync("/inside", join(tree.root, "absolute-inside"));
  for (const path of ["inside/file", "relative", "absolute-inside/file", "/inside/file", "../../inside/file"]) {
    using file = openInRoot(root.fd, path, O_RDONLY);
    assert.equal(readFileSync(file.fd, "utf8"), "inside");
  }
  for (const path of ["out", "absolute", "inside/parents/outside/secret", "/etc/passwd"]) {
    assert.throws(
      () => openInRoot(root.fd, path, O_RDONLY),
      (error) => isErrno(error, "ENOENT"),
      path,
    );
  }
});

test("a symlink in the last place can be refused too, and magic links always are", async () => {
  await using tree = await makeTree();
  using root = openDirectory(tree.root);
  assert.throws(
    () => openBeneath(root.fd, "relative", O_RDONLY | O_NOFOLLOW),
    (error) => isErrno(error, "ELOOP"),
  );
  using proc = openDirectory("/proc/self");
  assert.throws(
    () => openBeneath(proc.fd, "root/etc", O_RDONLY),
    (error) => isErrno(error, "ELOOP", "EXDEV"),
  );
  assert.throws(
    () => openBeneath(proc.fd, "exe", O_RDONLY),
    (error) => isErrno(error, "ELOOP", "EXDEV"),
  );
});

test("files are made, with their mode, and nameless ones", async () => {
  await using tree = await makeTree();
  using root = openDirectory(tree.root);
  using made = openBeneath(root.fd, "inside/made", O_RDWR | O_CREAT | O_EXCL, 0o640);
  assert.ok(made.fd >= 0);
  assert.equal((await runProgram("stat", ["-c", "%a", join(tree.root, "inside/made")])).trim(), "640");
  using nameless = openBeneath(root.fd, "inside", O_RDWR | O_TMPFILE, 0o600);
  assert.equal(fstatSync(nameless.fd).nlink, 0);
  assert.throws(
    () => openBeneath(root.fd, "../outside/made", O_RDWR | O_CREAT),
    (error) => isErrno(error, "EXDEV"),
  );
});

test("a file's content is read whole, and refused where it is not what was said, or leads out", async () => {
  await using tree = await makeTree();
  const read = (path: string, size: number) => readBeneath(tree.root, Buffer.from(path), size);
  assert.equal(read("inside/file", 6).toString(), "inside");
  for (const size of [5, 7]) assert.throws(() => read("inside/file", size), { code: "corrupt", message: /is 6 bytes/ });
  assert.throws(() => read("inside", 6), { code: "corrupt", message: /no regular file/ });
  for (const link of ["relative", "out"])
    assert.throws(
      () => read(link, 6),
      (error) => isErrno(error, "ELOOP"),
    );
});
