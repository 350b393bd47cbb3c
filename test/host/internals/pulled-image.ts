import { join } from "node:path";
import { addImage, addLayer, makeOciLayout } from "#fixtures/oci-layout.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import { describeEnd } from "#fixtures/programs.ts";
import { device, directory, type Entry, fifo, file, hardlink, symlink, whiteout } from "#fixtures/tar-writer.ts";

const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
const at = (seconds: number) => ({ mtime: `17000000${String(seconds).padStart(2, "0")}.123456789` });

/** libselinux prefers a rule without a pattern wherever it stands, composefs-rs the last one. */
const contexts = `/.*			system_u:object_r:default_t:s0
/usr/bin/exact	--	system_u:object_r:exact_t:s0
/usr/bin/.*	--	system_u:object_r:bin_t:s0
/usr/lib(/.*)?	system_u:object_r:lib_t:s0
/usr/lib/linked	--	<<none>>
`;

/** Every directory is listed in each layer that has something in it: so podman's times are those of the layers. */
const layers: readonly (readonly Entry[])[] = [
  [
    directory("usr", { mode: 0o751, ...at(1) }),
    directory("usr/bin", at(2)),
    file("usr/bin/exact", "x".repeat(5000), { mode: 0o4755, ...at(3) }),
    file("usr/bin/other", "y".repeat(70_000), {
      ...at(4),
      xattrs: { "security.capability": capability, "user.origin": "here" },
    }),
    file("usr/bin/small", "small", { uid: 7, gid: 8, ...at(5) }),
    directory("usr/lib", at(6)),
    file("usr/lib/first", "z".repeat(100), at(7)),
    hardlink("usr/lib/second", "usr/lib/first", at(7)),
    // Another label than its other name has.
    hardlink("usr/lib/linked", "usr/lib/first", at(7)),
    file("usr/lib/café\n", "", at(8)),
    symlink("lib", "usr/lib", at(9)),
    fifo("usr/lib/fifo", at(10)),
    device("usr/lib/null", "char", [1, 3], at(11)),
    directory("etc", at(12)),
    directory("etc/selinux", at(13)),
    file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=test\n", at(14)),
    ...["test", "test/contexts", "test/contexts/files", "test/policy"].map((name) =>
      directory(`etc/selinux/${name}`, at(15)),
    ),
    file("etc/selinux/test/policy/policy.33", "binary", at(16)),
    file("etc/selinux/test/contexts/files/file_contexts", contexts, at(17)),
    directory("run", at(18)),
    file("run/leftover", "gone", at(19)),
    directory("boot", { mode: 0o700, ...at(20) }),
    file("boot/vmlinuz", "kernel".repeat(100), at(21)),
    directory("sysroot", at(22)),
  ],
  [
    directory("usr", { mode: 0o755, ...at(30) }),
    directory("usr/lib", { mode: 0o711, uid: 3, ...at(31) }),
    file("usr/lib/new", "new".repeat(1000), at(32)),
    whiteout("usr/lib/null"),
    directory("boot", { mode: 0o755, ...at(33) }),
  ],
];

export interface PulledImage {
  readonly sysroot: string;
  /** As the user writes it. */
  readonly reference: string;
  /** By its name in the image store. */
  readonly name: string;
  /** By their names in the config's stream. */
  readonly images: Readonly<Record<string, string>>;
}

/** A sysroot of both backends, and a host image pulled into it. `folder` is on a file system with reflinks. */
export async function pullHostImage(folder: string): Promise<PulledImage> {
  const layout = makeOciLayout(join(folder, "layout"));
  const blobs = [];
  for (const entries of layers) blobs.push(await addLayer(layout, { entries }));
  addImage(layout, { tag: "host", layers: blobs, labels: { "containers.bootc": "1" } });
  const sysroot = folder;
  const init = await tryOnehold(sysroot, ["init", "--backend", "both"]);
  if (init.status !== 0) throw new Error(describeEnd(init));
  const reference = `oci:${layout.folder}:host`;
  const report = await onehold<PullReport & { composefs: { images: Record<string, string>; refused: string[] } }>(
    sysroot,
    ["image", "pull", reference],
  );
  const [listed] = await onehold<{ image: string }[]>(sysroot, ["image", "list"]);
  return { sysroot, reference, name: listed?.image ?? "", images: report.composefs.images };
}
