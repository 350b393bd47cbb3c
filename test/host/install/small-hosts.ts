import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { addImage, addLayer, type Image, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { tryOnehold } from "#fixtures/onehold.ts";
import { describeEnd, type ProgramOptions, runProgram } from "#fixtures/programs.ts";
import { pushImage, type Registry } from "#fixtures/registry.ts";
import { directory, type Entry, file, symlink } from "#fixtures/tar-writer.ts";

/** What `install to-filesystem --json` prints, as far as tests look at it. */
export interface InstallReport {
  readonly digest: string;
  readonly deployment: string;
  readonly kernelArguments: readonly string[];
  readonly boundImages: readonly { readonly image: string; readonly unit: string; readonly digest: string }[];
  readonly ostree: { readonly commit: string; readonly method: string };
}

/** As little as libostree deploys: a kernel that is none, an os-release, and something in /etc and /var. */
export const hostEntries: readonly Entry[] = [
  ...["etc", "usr", "usr/lib", "usr/lib/modules", "usr/lib/modules/1", "usr/lib/bootc", "var", "var/lib"].map((name) =>
    directory(name),
  ),
  ...["boot", "dev", "proc", "run", "sys", "sysroot", "tmp"].map((name) => directory(name)),
  symlink("ostree", "sysroot/ostree"),
  symlink("usr/lib/bootc/storage", "../../../sysroot/ostree/bootc/storage"),
  file("etc/hostname", "small\n"),
  file("usr/lib/os-release", 'ID=small\nPRETTY_NAME="Small Host"\n'),
  file("usr/lib/modules/1/vmlinuz", "no kernel"),
  file("usr/lib/modules/1/initramfs.img", "no initramfs"),
  directory("var/lib/app", { mode: 0o700, uid: 7, gid: 8 }),
  file("var/lib/app/state", "from the image\n", { mode: 0o600, uid: 7, gid: 8 }),
];

/** Units by their names, each of which names an image; bound by symlinks. */
export function boundUnits(units: Readonly<Record<string, string>>): Entry[] {
  return [
    directory("usr/share/containers/systemd"),
    directory("usr/lib/bootc/bound-images.d"),
    ...Object.entries(units).flatMap(([name, image]) => [
      file(
        `usr/share/containers/systemd/${name}`,
        `[${name.endsWith(".image") ? "Image" : "Container"}]\nImage=${image}\n`,
      ),
      symlink(`usr/lib/bootc/bound-images.d/${name}`, `/usr/share/containers/systemd/${name}`),
    ]),
  ];
}

/** Makes images and gives them to a registry: a host, two apps that it binds, and further entries by the host's tag. */
export class SmallImages {
  readonly layout: OciLayout;
  readonly #registry: Registry;

  constructor(folder: string, registry: Registry) {
    mkdirSync(folder, { recursive: true });
    this.layout = makeOciLayout(join(folder, "layout"));
    this.#registry = registry;
  }

  async push(tag: string, layers: readonly (readonly Entry[])[], labels: Record<string, string> = {}): Promise<Image> {
    const blobs = [];
    for (const entries of layers) blobs.push(await addLayer(this.layout, { entries }));
    const image = addImage(this.layout, { tag, layers: blobs, labels });
    await pushImage(this.layout, tag, this.#registry, tag);
    return image;
  }

  /** `tag` of a host; `more` is a layer of its own. */
  host(tag: string, more: readonly Entry[]): Promise<Image> {
    return this.push(tag, [hostEntries, more], { "containers.bootc": "1", "org.opencontainers.image.version": tag });
  }
}

/** Installs, which must succeed. */
export async function installHost(
  root: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<InstallReport> {
  const ended = await tryOnehold("/nonexistent", ["install", "to-filesystem", root, ...args, "--json"], options);
  if (ended.status !== 0) throw new Error(`install ${args.join(" ")}: ${describeEnd(ended)}`);
  return JSON.parse(ended.stdout) as InstallReport;
}

/** What libostree says of the deployments, a line each: `default CHECKSUM.0`. */
export async function deploymentsOf(root: string): Promise<string[]> {
  const text = await runProgram("ostree", ["admin", "status", `--sysroot=${root}`]);
  return text
    .split("\n")
    .map((line) => /^[* ]?\s+(\S+ [0-9a-f]{64}\.\d+)/.exec(line)?.[1])
    .filter((line) => line !== undefined);
}

/** Names, types, modes, owners and sizes of all below a folder of the root. */
export async function listBelow(root: string, folder: string): Promise<string> {
  const format = "%P %y %m %U:%G %l %s\n";
  const script = 'cd "$1" && find . ! -type d -printf "$2" -o -type d -printf "%P %y %m %U:%G\n" | LC_ALL=C sort';
  return runProgram("sh", ["-euc", script, "sh", join(root, folder), format]);
}
