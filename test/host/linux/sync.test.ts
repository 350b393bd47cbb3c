import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openDirectory } from "#linux/descriptor.ts";
import { beginSync } from "#linux/sync.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runProgram } from "#fixtures/programs.ts";

test("what was written is on the disk when a sync that was begun has ended", async () => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const file = join(folder, "file");
    // Without -s filefrag does not sync either: data without a place yet is marked so.
    const extents = () => runProgram("filefrag", ["-v", file]);
    writeFileSync(file, Buffer.alloc(1 << 20, "x"));
    assert.match(await extents(), /delalloc/);
    using directory = openDirectory(folder);
    await beginSync(directory.fd);
    assert.doesNotMatch(await extents(), /delalloc/);
  });
});
