import { createHash } from "node:crypto";
import type { Layer } from "#fixtures/layer-blob.ts";
import { addLayer, type OciLayout } from "#fixtures/oci-layout.ts";
import {
  device,
  directory,
  type Entry,
  fifo,
  file,
  hardlink,
  opaque,
  symlink,
  whiteout,
} from "#fixtures/tar-writer.ts";

/** cap_net_raw=ep, and an ACL (user::rw-,user:7:r--,group::r--,mask::r--,other::---), as the kernel holds them. */
const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
const acl = Buffer.from(
  "02000000" + "01000600ffffffff" + "0200040007000000" + "04000400ffffffff" + "10000400ffffffff" + "20000000ffffffff",
  "hex",
);
const long = "n".repeat(255);

/** The same at each call. */
export function noise(size: number, seed: string): Buffer {
  const blocks = Array.from({ length: Math.ceil(size / 32) }, (_, i) =>
    createHash("sha256").update(`${seed} ${i}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, size);
}

/** Around the sizes that are kept in an image itself, and of a page, and of what is read at once. */
const sizes = [0, 1, 63, 64, 65, 4095, 4096, 4097, (1 << 20) + 1];

/** What podman's own mount says of it is podman's choice: the layer that touches it last does not list it. */
export const unlisted: ReadonlySet<string> = new Set(["usr/share/unlisted", "usr/share/emptied"]);

/**
 * Layers with what is hard in them, base first; all that composefs-rs, ostree and podman can hold. `links`: with
 * hardlinks.
 */
export function hardLayers({ links }: { readonly links: boolean }): readonly (readonly Entry[])[] {
  const top = ["boot", "etc", "opt", "proc", "run", "sysroot", "tmp", "var"].map((name, i) =>
    directory(name, { mtime: `${1000 + i}.5` }),
  );
  // podman would choose modes and times for those that an upper layer has without listing them.
  const usr = directory("usr", { mode: 0o751, uid: 11, gid: 12, mtime: "1700000000.25" });
  const share = directory("usr/share", { xattrs: { "user.of-a-directory": "x" }, mtime: 30 });
  return [
    [
      directory("./", { mode: 0o700, uid: 8, mtime: 77 }),
      ...top,
      usr,
      directory("usr/bin", { mtime: 20 }),
      file("usr/bin/su", "#!/bin/sh\n", { mode: 0o4755, mtime: 21 }),
      file("usr/bin/ping", noise(70, "ping"), { mode: 0o755, xattrs: { "security.capability": capability } }),
      file("usr/bin/guarded", noise(700, "guarded"), { mode: 0o640, xattrs: { "system.posix_acl_access": acl } }),
      file("usr/bin/noted", "noted", {
        xattrs: { "user.origin": "here", "user.binary": Buffer.from([0, 255, 10]), "security.capability": capability },
      }),
      share,
      ...sizes.map((size) => file(`usr/share/size-${size}`, noise(size, "size"), { mtime: size })),
      file("usr/share/the same", noise(4097, "size"), {
        uid: 70_000,
        gid: 4_000_000_000,
        mtime: "1600000000.123456789",
      }),
      file("usr/share/before 1970", "old", { mtime: 0 }),
      file(`usr/share/${long}`, noise(100, "long")),
      file("usr/share/ümlaut 字 \\ \t=", noise(101, "names")),
      symlink("usr/share/loop", "loop", { uid: 5, gid: 6, mtime: 33 }),
      symlink("usr/share/far", "x".repeat(1000)),
      symlink("lib", "usr/lib", { mtime: 34 }),
      directory("usr/share/unlisted", { mtime: 40 }),
      file("usr/share/unlisted/old", noise(300, "old")),
      directory("usr/share/emptied", { mtime: 41 }),
      file("usr/share/emptied/old", noise(301, "old")),
      fifo("usr/share/pipe", { mode: 0o622, uid: 1, mtime: 42 }),
      device("usr/share/null", "char", [1, 3], { mode: 0o666, mtime: 43 }),
      device("usr/share/disk", "block", [300, 70_000], { gid: 6, mtime: 44 }),
      file("run/leftover", noise(5000, "run")),
      file("boot/kernel", noise(6000, "boot"), { mtime: 50 }),
      directory("etc/empty", { mode: 0o1777, mtime: 51 }),
      directory("opt/opaque", { mtime: 52 }),
      file("opt/opaque/old", noise(302, "old")),
      file("opt/goes", noise(303, "goes")),
      directory("opt/folder-goes"),
      file("opt/folder-goes/inner", noise(304, "inner")),
      file("opt/becomes-directory", noise(305, "file")),
      directory("opt/becomes-file", { mode: 0o711 }),
      file("opt/becomes-file/inner", noise(306, "inner")),
      ...(links
        ? [
            file("usr/bin/first", noise(5000, "linked"), { uid: 1, gid: 2, mtime: 60 }),
            hardlink("usr/bin/second", "usr/bin/first", { uid: 1, gid: 2, mtime: 60 }),
            hardlink("usr/share/third", "usr/bin/first", { uid: 1, gid: 2, mtime: 60 }),
            file("usr/bin/small", "small", { mtime: 61 }),
            hardlink("usr/bin/small-link", "usr/bin/small", { mtime: 61 }),
            hardlink("usr/share/loop-link", "usr/share/loop", { uid: 5, gid: 6, mtime: 33 }),
            fifo("usr/bin/pipe", { mtime: 62 }),
            hardlink("usr/bin/pipe-link", "usr/bin/pipe", { mtime: 62 }),
          ]
        : []),
    ],
    [
      usr,
      share,
      directory("opt", { mtime: "1002.5" }),
      directory("opt/opaque", { mode: 0o750, mtime: 70 }),
      opaque("opt/opaque"),
      file("opt/opaque/new", noise(400, "new")),
      whiteout("opt/goes"),
      whiteout("opt/folder-goes"),
      directory("opt/becomes-directory", { mode: 0o711, mtime: 71 }),
      file("opt/becomes-directory/inner", noise(401, "now")),
      file("opt/becomes-file", noise(402, "now")),
      directory("var", { mode: 0o711, uid: 7, mtime: 72 }),
      file("usr/share/unlisted/new", noise(403, "new")),
      opaque("usr/share/emptied"),
      file("usr/share/emptied/new", noise(404, "new")),
    ],
    [
      directory("opt", { mode: 0o700, mtime: "80.000000001" }),
      file("opt/becomes-directory", noise(305, "file"), { mtime: 81 }),
      directory("opt/becomes-file", { mode: 0o700, mtime: 82 }),
      file("opt/goes", noise(303, "goes")),
      directory("opt/opaque", { mode: 0o755, mtime: 83 }),
      opaque("opt/opaque"),
      file("opt/opaque/newest", noise(500, "newest")),
      // Of another owner: hardlinks of the layer below keep theirs.
      ...(links
        ? [usr, directory("usr/bin", { mtime: 84 }), file("usr/bin/first", noise(5000, "linked"), { uid: 9 })]
        : []),
    ],
  ];
}

export async function addHardLayers(layout: OciLayout, options: { readonly links: boolean }): Promise<Layer[]> {
  const layers = [];
  for (const [i, entries] of hardLayers(options).entries())
    layers.push(await addLayer(layout, { entries }, i === 1 ? "none" : "gzip"));
  return layers;
}
