import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Layer } from "#fixtures/layer-blob.ts";
import { addImage, addLayer, type OciLayout } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { commitLayer, type ExportedCommit, exportCommit, fileObjects } from "./encapsulated.ts";

export const content = randomBytes(200_000);

/** A root file system as ostree-based systems have it: configuration in /usr/etc, labels on everything. */
const makeTree = `
mkdir -p usr/bin usr/etc/default usr/lib/opaque usr/share/kept var sysroot boot
cp "$1" usr/bin/tool
printf setuid >usr/bin/su; printf goes >usr/bin/goes; printf first >usr/bin/changed; printf modified >usr/bin/patched
: >usr/lib/empty; : >usr/etc/hostname; : >usr/etc/resolv.conf; : >usr/etc/empty
printf 'root\n' >usr/etc/passwd; printf a >usr/etc/default/a; printf gone >usr/etc/gone
printf old >usr/lib/opaque/old; printf kept >usr/share/kept/file; printf 'names' >'usr/share/kept/ümlaut 字'
ln usr/bin/changed usr/bin/hardlink
ln -s bin/tool usr/tool; ln -s sysroot/ostree ostree; ln -s ../../nowhere usr/lib/dangling
chown 7:8 usr/bin/changed usr/share/kept/file; chown -h 5:6 usr/lib/dangling
chmod 4755 usr/bin/su; chmod 0750 usr/lib/opaque; chmod 0751 .
setfattr -n user.origin -v here usr/bin/tool; setfattr -n user.binary -v 0x00ff0a usr/bin/tool
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 usr/bin/tool
find . -print0 | xargs -0 setfattr -h -n security.selinux -v 0x73797374656d5f753a6f626a6563745f723a7573725f743a733000
`;

export async function makeCommit(folder: string, change = ""): Promise<ExportedCommit> {
  const tree = join(folder, "tree");
  mkdirSync(tree);
  writeFileSync(join(folder, "content"), content);
  await runProgram("sh", ["-euc", `${makeTree}\n${change}`, "sh", join(folder, "content")], { cwd: tree });
  const repository = join(folder, "origin");
  const ostree = (...args: string[]) => runProgram("ostree", [`--repo=${repository}`, ...args]);
  await ostree("init", "--mode=bare");
  const detached = "--add-detached-metadata-string=signature=signed";
  const commit = (await ostree("commit", "--branch=base", "--subject=base", detached, `--tree=dir=${tree}`)).trim();
  return exportCommit(repository, commit);
}

/** What the commit layer carries, and each chunk. */
export function chunksOf({ files }: ExportedCommit): string[][] {
  const chunks: string[][] = [[], [], []];
  for (const [i, checksum] of [...files.keys()].entries()) chunks[i % 3]?.push(checksum);
  return chunks;
}

export async function addBase(layout: OciLayout, exported: ExportedCommit): Promise<Layer[]> {
  const [first = [], ...chunks] = chunksOf(exported);
  const layers = [await addLayer(layout, { entries: commitLayer(exported, first) })];
  for (const chunk of chunks) layers.push(await addLayer(layout, { entries: fileObjects(exported, chunk) }));
  return layers;
}

export function addNative(layout: OciLayout, tag: string, base: readonly Layer[], top: readonly Layer[]) {
  const labels = { "containers.bootc": "1", "ostree.final-diffid": base.at(-1)?.diffId ?? "" };
  return addImage(layout, { tag, layers: [...base, ...top], labels });
}

export function objectOf({ names }: ExportedCommit, path: string): string {
  for (const [checksum, paths] of names) if (paths.includes(path)) return nameOf(checksum);
  throw new Error(`no object of ${path}`);
}

export function nameOf(checksum: string): string {
  return `${checksum.slice(0, 2)}/${checksum.slice(2)}.file`;
}
