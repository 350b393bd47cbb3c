/**
 * `./dev demo`: Onehold's main job on real input. The demo runs in a mount namespace of its own, so that no mount
 * outlives it, and this process waits outside to clear up however it ended; what stays is the disk, for a further look.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { runContainer } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { makeFileSystem } from "#fixtures/file-systems.ts";
import { endOf, runProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage } from "#fixtures/registry.ts";
import { makeTemporaryFolder, unmount } from "#fixtures/temporary-folders.ts";

const project = join(import.meta.dirname, "..");
const keptDisk = "/var/tmp/onehold-demo.img";
/** Where the disk is mounted while the demo runs, and where its last words tell to mount it. */
const sysroot = "/mnt";
const insideMark = "ONEHOLD_DEMO_NAMESPACE";

/** What runs in the foreground: a signal is for that, and the demo ends when it has ended. */
let foreground: ChildProcess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (foreground === undefined) process.exit(128 + constants.signals[signal]);
    // A terminal has sent its Ctrl-C to all of us.
    if (signal === "SIGTERM" || !process.stdin.isTTY) foreground.kill(signal);
  });
}

if (process.env[insideMark] === undefined) {
  const self = [process.execPath, ...process.execArgv, import.meta.filename];
  const { status, signal } = await inForeground(
    "unshare",
    ["--mount", "--propagation", "private", "--", ...self],
    "KILL",
    { ...process.env, [insideMark]: "1" },
  );
  // Making a folder clears those of processes that were killed.
  await using _ = await makeTemporaryFolder("demo");
  if (status === 0) {
    say(`The disk is kept in ${keptDisk} until the next demo. For a further look:`);
    process.stdout.write(`\n    mount -o loop ${keptDisk} ${sysroot}\n    bin/onehold --sysroot ${sysroot} usage\n`);
  }
  process.exitCode = status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
} else {
  try {
    await demo();
  } catch (error) {
    process.stderr.write(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

async function demo(): Promise<void> {
  say("Making Debian images (built once, and kept), and a registry on loopback that has them");
  const { layout } = await debianImages();
  await using registry = await makeRegistry();
  const host = `localhost:${registry.port}`;
  for (const tag of ["os:1", "os:2", "app:1"]) await pushImage(layout, tag, registry, tag);
  await trustWithoutTls(host);

  say("Making an XFS file system on a loop device: the sysroot");
  await using disk = await makeFileSystem("xfs", { sizeMiB: 8192 });
  await runProgram("mount", ["--bind", disk.mountPoint, sysroot]);
  await using _ = { [Symbol.asyncDispose]: () => unmount(sysroot) };

  say("An OS image: into the image store and, by reflink, into the ostree repository");
  await onehold("image", "pull", `${host}/os:1`, "--pin");
  say("An app image on the same base layer: into the image store alone");
  await onehold("image", "pull", `${host}/app:1`);
  await onehold("image", "list");
  await onehold("usage");
  say("Others read both stores");
  await show("ostree", [`--repo=${sysroot}/ostree/repo`, "fsck"]);
  await showContainer(join(sysroot, "ostree/bootc/storage"), `${host}/os:1`);
  say("A new version of the OS: all its layers but one are there");
  await onehold("image", "pull", `${host}/os:2`);
  await onehold("image", "list");
  await onehold("usage");

  rmSync(keptDisk, { force: true });
  renameSync(disk.imageFile, keptDisk);
}

/** What a user without TLS writes into registries.conf.d; here it is seen by nobody else. */
async function trustWithoutTls(host: string): Promise<void> {
  const folder = "/etc/containers/registries.conf.d";
  mkdirSync(folder, { recursive: true });
  await runProgram("mount", ["-t", "tmpfs", "tmpfs", folder]);
  writeFileSync(join(folder, "demo.conf"), `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
}

function onehold(...args: string[]): Promise<void> {
  return show("onehold", ["--sysroot", sysroot, ...args], join(project, "bin/onehold"));
}

/** Echoes a command as a shell would show it and runs it on the user's own terminal. */
async function show(name: string, args: readonly string[], program = name): Promise<void> {
  process.stdout.write(`\n# ${[name, ...args].join(" ")}\n`);
  const { status, signal } = await inForeground(program, args, "TERM");
  if (status !== 0)
    throw new Error(`${name} ended with ${status === null ? `the signal ${signal}` : `exit status ${status}`}`);
}

async function showContainer(additionalStore: string, image: string): Promise<void> {
  const argv = ["cat", "/etc/os-release"];
  const podman = `podman --storage-opt additionalimagestore=${additionalStore}`;
  process.stdout.write(`\n# ${podman} run --rm --pull=never --network=none ${image} ${argv.join(" ")}\n`);
  const ended = await runContainer({ additionalStore, image, argv });
  process.stdout.write(ended.stdout);
  if (ended.status !== 0) throw new Error(`podman ended with exit status ${ended.status}:\n${ended.stderr}`);
}

/** Runs a program on the user's terminal; it gets the signal `ifKilled` should this process be killed. */
async function inForeground(
  program: string,
  args: readonly string[],
  ifKilled: "KILL" | "TERM",
  env = process.env,
): ReturnType<typeof endOf> {
  const child = spawn("setpriv", ["--pdeathsig", ifKilled, "--", program, ...args], { stdio: "inherit", env });
  foreground = child;
  try {
    return await endOf(child);
  } finally {
    foreground = undefined;
  }
}

function say(text: string): void {
  process.stdout.write(`\n== ${text}\n`);
}
