import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withFileSystem } from "#fixtures/file-systems.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport } from "#fixtures/onehold.ts";
import { directory, file, hardlink, symlink } from "#fixtures/tar-writer.ts";
import { linesOf } from "./expected-image.ts";
import { noise } from "./hard-image.ts";
import { assertSound } from "./repository.ts";

const label = (type: string) => `system_u:object_r:${type}:s0`;
const contexts = (bin: string) => `
/.*		${label("default_t")}
/usr(/.*)?	${label("usr_t")}
/usr/bin(/.*)?	${label(bin)}
/usr/bin/link	-l	${label("link_t")}
/usr/share/none	<<none>>
/usr/share/.*\\.so	--	${label("lib_t")}
`;

test("the boot image has the labels of the image's own policy, the newest of its layers; the other has none", {
  timeout: 120_000,
}, async () => {
  await withFileSystem("xfs", { sizeMiB: 400 }, async (folder) => {
    const layout = makeOciLayout(join(folder, "layout"));
    const top = ["boot", "run", "sysroot", "etc", "usr", "usr/bin", "usr/share"].map((name) => directory(name));
    const policy = ["etc/selinux", "etc/selinux/targeted", "etc/selinux/targeted/contexts"];
    const files = "etc/selinux/targeted/contexts/files";
    const lower = await addLayer(layout, {
      entries: [
        ...top,
        ...[...policy, files].map((name) => directory(name)),
        file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
        file(`${files}/file_contexts`, contexts("old_t")),
        file("usr/bin/program", noise(100, "program"), { xattrs: { "security.selinux": "what:the:tar:says\0" } }),
        symlink("usr/bin/link", "program"),
        file("usr/share/none", "none"),
        file("usr/share/library.so", noise(200, "library")),
        // One inode under two names that want different labels: composefs-rs makes two files of it.
        hardlink("usr/bin/library", "usr/share/library.so"),
      ],
    });
    const upper = await addLayer(layout, { entries: [file(`${files}/file_contexts`, contexts("bin_t"))] });
    addImage(layout, { tag: "1", layers: [lower, upper], labels: { "containers.bootc": "1" } });
    const sysroot = join(folder, "sysroot");
    mkdirSync(sysroot);
    const repository = join(sysroot, "composefs");
    await onehold(sysroot, ["init", "--backend", "composefs", "--composefs-digest", "sha256"]);
    const report = await onehold<PullReport>(sysroot, ["image", "pull", `oci:${layout.folder}:1`]);
    assert.deepEqual(report.composefs?.refused, []);
    const dumpOf = async (name: string) => {
      const image = join(repository, "images", report.composefs?.images[name] ?? "");
      return linesOf(await runModern(["composefs-info", "dump", image]));
    };
    const raw = await dumpOf("composefs.image.v1");
    assert.deepEqual(
      raw.filter((line) => line.some((field) => field.startsWith("security.selinux="))),
      [],
    );
    const boot = await dumpOf("composefs.image.boot.v1");
    const labels = new Map(
      boot.map((line) => [line[0] ?? "", line.find((field) => field.startsWith("security.selinux="))?.slice(17)]),
    );
    assert.deepEqual(
      Object.fromEntries(
        [
          "/",
          "/boot",
          "/usr",
          "/usr/bin",
          "/usr/bin/program",
          "/usr/bin/link",
          "/usr/bin/library",
          "/usr/share/none",
          "/usr/share/library.so",
        ].map((path) => [path, labels.get(path)]),
      ),
      {
        "/": label("default_t"),
        "/boot": label("default_t"),
        "/usr": label("usr_t"),
        "/usr/bin": label("bin_t"),
        "/usr/bin/program": label("bin_t"),
        "/usr/bin/link": label("link_t"),
        "/usr/bin/library": label("bin_t"),
        "/usr/share/none": undefined,
        "/usr/share/library.so": label("lib_t"),
      },
    );
    const digests = (paths: readonly string[]) =>
      boot.filter(([path = ""]) => paths.includes(path)).map((line) => line[10]);
    assert.equal(new Set(digests(["/usr/bin/library", "/usr/share/library.so"])).size, 1);
    await assertSound(repository);
  });
});
