/**
 * `./dev demo`: Onehold's main job on real input. Everything happens in a mount namespace of the demo's own, so
 * that no mount outlives it; what stays is the disk, for a further look.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runContainer } from "#fixtures/containers.ts";
import { debianImages } from "#fixtures/debian-images.ts";
import { makeFileSystem } from "#fixtures/file-systems.ts";
import { endOf, runProgram } from "#fixtures/programs.ts";
import { makeRegistry, pushImage } from "#fixtures/registry.ts";

const project = join(import.meta.dirname, "..");
const keptDisk = "/var/tmp/onehold-demo.img";
const insideMark = "ONEHOLD_DEMO_NAMESPACE";

if (process.env[insideMark] === undefined) {
  const { status } = spawnSync(
    "unshare",
    ["--mount", "--propagation", "private", process.execPath, ...process.execArgv, import.meta.filename],
    { stdio: "inherit", env: { ...process.env, [insideMark]: "1" } },
  );
  process.exitCode = status ?? 1;
} else {
  await demo();
}

async function demo(): Promise<void> {
  say("Making the Debian images (once; they are kept) and a registry on loopback");
  const { layout } = await debianImages();
  await using registry = await makeRegistry();
  const host = `localhost:${registry.port}`;
  for (const tag of ["os:1", "os:2", "app:1"]) await pushImage(layout, tag, registry, tag);
  await trustWithoutTls(host);

  say("Making an XFS file system on a loop device: the sysroot");
  await using disk = await makeFileSystem("xfs", { sizeMiB: 8192 });
  const sysroot = disk.mountPoint;
  const onehold = (...args: string[]) => show("onehold", ["--sysroot", sysroot, ...args], join(project, "bin/onehold"));

  await onehold("image", "pull", `${host}/os:1`, "--pin");
  await onehold("image", "pull", `${host}/app:1`);
  await onehold("image", "list");
  await onehold("usage");
  await show("ostree", [`--repo=${sysroot}/ostree/repo`, "fsck", "--quiet"]);
  await showContainer(join(sysroot, "ostree/bootc/storage"), `${host}/os:1`);
  say("A new version of the OS: all its layers but one are there");
  await onehold("image", "pull", `${host}/os:2`);
  await onehold("image", "list");
  await onehold("usage");

  rmSync(keptDisk, { force: true });
  renameSync(disk.imageFile, keptDisk);
  say(`The disk is kept in ${keptDisk}, until the next demo. For a look: mount -o loop ${keptDisk} /mnt`);
}

/** What a user without TLS writes into registries.conf.d; here it is seen by nobody else. */
async function trustWithoutTls(host: string): Promise<void> {
  const folder = "/etc/containers/registries.conf.d";
  mkdirSync(folder, { recursive: true });
  await runProgram("mount", ["-t", "tmpfs", "tmpfs", folder]);
  writeFileSync(join(folder, "demo.conf"), `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
}

/** Echoes a command as a shell would show it and runs it on the user's own terminal. */
async function show(name: string, args: readonly string[], program = name): Promise<void> {
  process.stdout.write(`\n# ${[name, ...args].join(" ")}\n`);
  const child = spawn(program, args, { stdio: "inherit" });
  const { status, signal } = await endOf(child);
  if (status !== 0) throw new Error(`${name} ${args.join(" ")} ended with ${status ?? signal}`);
}

async function showContainer(additionalStore: string, image: string): Promise<void> {
  const command = ["cat", "/etc/os-release"];
  process.stdout.write(
    `\n# podman --storage-opt additionalimagestore=${additionalStore} run --rm ${image} ${command.join(" ")}\n`,
  );
  const ended = await runContainer({ additionalStore, image, argv: command });
  process.stdout.write(ended.stdout);
  if (ended.status !== 0) throw new Error(`podman ended with ${ended.status}:\n${ended.stderr}`);
}

function say(text: string): void {
  process.stdout.write(`\n== ${text}\n`);
}
