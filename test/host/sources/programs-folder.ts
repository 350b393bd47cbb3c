import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modernPrefix } from "#fixtures/modern-chroot.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

/** `installed`: podman 4.3 and skopeo 1.9 of this machine; `modern`: podman 5.8 and skopeo 1.22. */
export type Release = "installed" | "modern";
export const releases: readonly Release[] = ["installed", "modern"];

/** What pulls from a registry: what can differ between two of them is tested with each. */
export const combinations: readonly { readonly source: "podman" | "skopeo"; readonly release: Release }[] = [
  { source: "podman", release: "installed" },
  { source: "podman", release: "modern" },
  { source: "skopeo", release: "installed" },
];

/** A folder that is all of PATH: what is not in it is not installed. */
export interface ProgramsFolder extends AsyncDisposable {
  readonly path: string;
}

export interface ProgramsOptions {
  readonly release?: Release;
  readonly programs?: readonly ("podman" | "skopeo")[];
  /** What the programs find at /etc/containers. */
  readonly etcContainers?: string;
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export async function makeProgramsFolder(options: ProgramsOptions = {}): Promise<ProgramsFolder> {
  const { release = "installed", programs = ["podman", "skopeo"], etcContainers } = options;
  const enter = release === "modern" ? await modernPrefix() : ["unshare", "--mount", "--propagation", "private"];
  const folder = await makeTemporaryFolder("programs");
  for (const name of ["setpriv", "unshare"]) {
    const found = await runProgram("sh", ["-c", 'command -v "$0"', name]);
    symlinkSync(found.trim(), join(folder.path, name));
  }
  const bind = etcContainers === undefined ? "" : `mount --bind ${quoted(etcContainers)} /etc/containers; `;
  for (const name of programs) {
    const script = `set -e; ${bind}exec ${name} "$@"`;
    const words = [...enter, "sh", "-c", script, name].map(quoted).join(" ");
    writeFileSync(join(folder.path, name), `#!/bin/sh\nPATH=${systemPath} exec ${words} "$@"\n`, { mode: 0o755 });
  }
  return { path: folder.path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
