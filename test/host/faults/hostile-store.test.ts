import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { hexOf } from "#base/digest.ts";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { runProgram } from "#fixtures/programs.ts";
import { directory, file } from "#fixtures/tar-writer.ts";

const size = 5000;

interface Hostile {
  /** The layer's files, which were the image's own. */
  readonly diff: string;
  /** A copy of them elsewhere, with the same sizes and other content: what must not be read. */
  readonly outside: string;
  /** The layer's tar-split, which tells its names. */
  readonly tarSplit: string;
}

/** Puts a link in the place of something, to what is outside. */
function swap(path: string, target: string): void {
  renameSync(path, `${path}-was`);
  symlinkSync(target, path);
}

const cases: Readonly<Record<string, (hostile: Hostile) => void>> = {
  "the layer's folder leads out": ({ diff, outside }) => swap(diff, outside),
  "the layer's folder leads out, and no tar-split": ({ diff, outside, tarSplit }) => {
    rmSync(tarSplit);
    swap(diff, outside);
  },
  "a folder in it leads out": ({ diff, outside }) => swap(join(diff, "usr"), join(outside, "usr")),
  "a folder in it leads out by dots": ({ diff, outside }) =>
    swap(join(diff, "usr"), `${"../".repeat(20)}${join(outside, "usr").slice(1)}`),
  "a folder that its tar does not list leads out": ({ diff, outside }) =>
    swap(join(diff, "implied"), join(outside, "implied")),
  "a file in it leads out": ({ diff, outside }) => swap(join(diff, "usr/file"), join(outside, "usr/file")),
};

test("an image store that somebody else has changed does not lead to the host's files", {
  timeout: 240_000,
}, async (t) => {
  for (const [what, make] of Object.entries(cases)) {
    await t.test(what, () =>
      withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
        const layout = makeOciLayout(join(folder, "layout"));
        const entries = [
          directory("usr"),
          file("usr/file", randomBytes(size)),
          file("implied/file", randomBytes(size)),
        ];
        const layer = await addLayer(layout, { entries });
        addImage(layout, { tag: "1", layers: [layer] });
        const sysroot = join(folder, "sysroot");
        const store = join(sysroot, "ostree/bootc/storage");
        mkdirSync(sysroot);
        const pull = ["image", "pull", `oci:${layout.folder}:1`];
        await onehold<PullReport>(sysroot, pull);

        const diff = join(store, "overlay", hexOf(layer.diffId), "diff");
        const outside = join(folder, "outside");
        cpSync(diff, outside, { recursive: true });
        for (const name of ["usr/file", "implied/file"]) writeFileSync(join(outside, name), secret);
        await runProgram("chown", ["-R", "1234", outside]);
        const tarSplit = join(store, "overlay-layers", `${hexOf(layer.diffId)}.tar-split.gz`);
        assert.ok(existsSync(tarSplit) && existsSync(dirname(diff)));
        make({ diff, outside, tarSplit });

        const ended = await tryOnehold(sysroot, [...pull, "--host"]);
        assert.equal(ended.status, 1, ended.stdout);
        assert.equal(ended.stderr.match(/^error: /gm)?.length, 1, ended.stderr);
        assert.doesNotMatch(ended.stderr, /\n\s+at /, "no stack trace");
        const objects = readdirSync(join(sysroot, "ostree/repo/objects"), { recursive: true, encoding: "utf8" });
        assert.deepEqual(
          objects.filter((name) => name.includes(".")),
          [],
        );
      }),
    );
  }
});

const secret = Buffer.alloc(size, "the host's own ");
