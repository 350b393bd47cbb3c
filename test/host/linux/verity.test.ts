import assert from "node:assert/strict";
import { constants, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type FileSystemKind, withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { openFile } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";
import { enableVerity, measureVerity } from "#linux/verity.ts";

const { O_RDONLY } = constants;
/** Made by a kernel that has fs-verity. */
const kernelHasVerity = existsSync("/proc/sys/fs/verity");
const mkfsOptions: Record<FileSystemKind, string[]> = { ext4: ["-O", "verity", "-b", "4096"], btrfs: [], xfs: [] };
/** fs-verity digests of an empty file, as in the kernel's and composefs's own tests. */
const emptyFile = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";

for (const kind of ["ext4", "btrfs", "xfs"] as const) {
  const supported = kernelHasVerity && kind !== "xfs";
  test(`${kind}: fs-verity ${supported ? "is enabled once, and measured" : "is unsupported, which is no failure"}`, async () => {
    await withFileSystem(kind, { sizeMiB: 300, mkfsOptions: mkfsOptions[kind] }, async (root) => {
      const path = join(root, "file");
      writeFileSync(path, "");
      using file = openFile(path, O_RDONLY);
      if (!supported) {
        assert.equal(enableVerity(file.fd, "sha256"), "unsupported");
        assert.equal(measureVerity(file.fd), "unsupported");
        return;
      }
      assert.equal(measureVerity(file.fd), "not-enabled");
      assert.equal(enableVerity(file.fd, "sha256"), "enabled");
      assert.equal(enableVerity(file.fd, "sha256"), "already-enabled");
      assert.deepEqual(measureVerity(file.fd), { algorithm: "sha256", digest: Buffer.from(emptyFile, "hex") });
      assert.match(await runProgram("lsattr", [path]), /V/);
    });
  });
}

test("another failure is one", () => {
  assert.throws(
    () => measureVerity(-1),
    (error) => isErrno(error, "EBADF"),
  );
  assert.throws(
    () => enableVerity(-1, "sha512"),
    (error) => isErrno(error, "EBADF"),
  );
});

test("strace knows the requests", { skip: !existsSync("/usr/bin/strace") && "no strace" }, async () => {
  await using folder = await makeTemporaryFolder("verity");
  const trace = join(folder.path, "trace");
  const module = new URL("../../../src/linux/verity.ts", import.meta.url);
  const script = `
    import { openSync } from "node:fs";
    import { enableVerity, measureVerity } from ${JSON.stringify(module.href)};
    const fd = openSync("/dev/null");
    console.log(enableVerity(fd, "sha512"), measureVerity(fd));
  `;
  const args = ["-f", "-e", "trace=ioctl", "-o", trace, process.execPath, "--input-type=module", "-e", script];
  assert.equal((await runProgram("strace", args)).trim(), "unsupported unsupported");
  assert.match(readFileSync(trace, "utf8"), /FS_IOC_ENABLE_VERITY,[^]*FS_IOC_MEASURE_VERITY,/);
});
