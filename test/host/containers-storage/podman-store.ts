import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { modernPrefix } from "#fixtures/modern-chroot.ts";
import { addImage, addLayer, type Image, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { type Ended, type ProgramOptions, runProgram, tryProgram } from "#fixtures/programs.ts";
import { directory, type Entry, file, symlink, whiteout } from "#fixtures/tar-writer.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

/** Both generations of podman that write such stores. */
export const versions = ["4.3", "5.8"] as const;
export type PodmanVersion = (typeof versions)[number];

/** A podman with a store of its own, run in its own mount namespace: what it mounts goes with it. */
export interface Podman {
  readonly version: PodmanVersion;
  readonly root: string;
  run(...args: string[]): Promise<string>;
  /** A failure is a result. */
  attempt(...args: string[]): Promise<Ended>;
  /** The words of the command line, for other ways to start it. */
  command(...args: string[]): Promise<[string, ...string[]]>;
}

export interface PodmanOptions {
  /** Before the verb. */
  readonly global?: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export function podmanAt(version: PodmanVersion, folder: string, options: PodmanOptions = {}): Podman {
  mkdirSync(folder, { recursive: true });
  const root = join(folder, "root");
  const store = [
    "--root",
    root,
    "--runroot",
    join(folder, "x"),
    "--storage-driver",
    "overlay",
    "--cgroup-manager",
    "cgroupfs",
  ];
  const programOptions: ProgramOptions = {
    cwd: options.cwd ?? folder,
    env: { TMPDIR: folder, PODMAN_IGNORE_CGROUPSV1_WARNING: "1", ...options.env },
  };
  const command = async (...args: string[]): Promise<[string, ...string[]]> => {
    const prefix = version === "4.3" ? [] : await modernPrefix();
    return [
      "unshare",
      "--mount",
      "--propagation",
      "slave",
      ...prefix,
      "podman",
      ...store,
      ...(options.global ?? []),
      ...args,
    ];
  };
  return {
    version,
    root,
    command,
    run: async (...args) => {
      const [program, ...rest] = await command(...args);
      return await runProgram(program, rest, programOptions);
    },
    attempt: async (...args) => {
      const [program, ...rest] = await command(...args);
      return await tryProgram(program, rest, programOptions);
    },
  };
}

export interface TestStore extends AsyncDisposable {
  readonly folder: string;
  readonly podman: Podman;
  /** The folder `layout` in `folder`: podman 4.3 refuses names of images with capitals, as in our absolute path. */
  readonly layout: OciLayout;
}

/** An empty folder, a podman for it and an OCI layout to pull from. */
export async function makeTestStore(version: PodmanVersion, options: PodmanOptions = {}): Promise<TestStore> {
  // Podman refuses a run root of more than 50 characters.
  const folder = await makeTemporaryFolder("cs");
  // podman syncs often, and what a power cut leaves is not looked at here.
  await runProgram("mount", ["-t", "tmpfs", "tmpfs", folder.path]);
  const layout = makeOciLayout(join(folder.path, "layout"));
  const dispose = (): PromiseLike<void> => folder[Symbol.asyncDispose]();
  return {
    folder: folder.path,
    podman: podmanAt(version, folder.path, options),
    layout,
    [Symbol.asyncDispose]: dispose,
  };
}

/** Pulls a tag of the layout. Returns the image's id; its name is podman's choice, and differs with its version. */
export async function pull(store: TestStore, tag: string, podman = store.podman): Promise<string> {
  return (await podman.run("pull", "--quiet", `oci:layout:${tag}`)).trim();
}

/** Two images that share their base: `app` with a layer more, `other` with two more. */
export async function addTwoImages(layout: OciLayout): Promise<{ app: Image; other: Image }> {
  const base = await addLayer(layout, { entries: baseEntries });
  const app = await addLayer(layout, { entries: [directory("etc"), file("etc/app", "app\n"), whiteout("etc/issue")] });
  const library = await addLayer(
    layout,
    { entries: [...usrLib, file("usr/lib/liba.so", Buffer.alloc(70_000, 7))] },
    "none",
  );
  const other = await addLayer(layout, { entries: [...usrLib, symlink("usr/lib/libb.so", "liba.so")] });
  return {
    app: addImage(layout, { tag: "app", layers: [base, app], labels: { role: "app" } }),
    other: addImage(layout, { tag: "other", layers: [base, library, other] }),
  };
}

/** `podman system check` takes folders that a tar does not list for damage. */
const usrLib: readonly Entry[] = [directory("usr"), directory("usr/lib")];

const baseEntries: readonly Entry[] = [
  directory("etc"),
  file("etc/issue", "Test system\n"),
  file("etc/empty"),
  directory("usr"),
  directory("usr/bin"),
  file("usr/bin/tool", Buffer.alloc(200_000, "tool"), { mode: 0o755 }),
  symlink("bin", "usr/bin"),
];
