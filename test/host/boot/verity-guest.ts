/**
 * Runs in a guest whose kernel has fs-verity: protects a composefs repository, mounts images of it with our code,
 * damages it below the files, and reports what the kernel made of it as JSON.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { OneholdError } from "#base/errors.ts";
import { mountImage, unmountImage } from "#host/composefs-mount.ts";
import { openFile } from "#linux/descriptor.ts";
import { mount, mountTable, mountTmpfs, unmount } from "#linux/mounts.ts";
import { isErrno } from "#linux/system-error.ts";
import { enableVerity, measureVerity, type VerityMeasurement } from "#linux/verity.ts";
import type { GuestPlan, GuestReport, Refusal } from "./guest-plan.ts";

const disk = "/dev/vdc";
const at = "/tmp/mnt";
const repository = "/tmp/disk/repository";

function mountDisk(): void {
  mount(disk, "/tmp/disk", { type: "ext4" });
}

function protect(path: string, algorithm: "sha256" | "sha512" = "sha256"): string {
  using file = openFile(path, constants.O_RDONLY);
  const enabled = enableVerity(file.fd, algorithm);
  const measured: VerityMeasurement | string = measureVerity(file.fd);
  return typeof measured === "string" ? `${enabled}, ${measured}` : measured.digest.toString("hex");
}

function protectObjects({ objects }: GuestPlan): Record<string, string> {
  const folder = join(repository, "objects");
  rmSync(join(folder, objects.missing));
  writeFileSync(join(folder, objects.replaced), "z".repeat(6000));
  const otherwise: Record<string, string> = {};
  for (const prefix of readdirSync(folder)) {
    for (const rest of readdirSync(join(folder, prefix))) {
      const object = `${prefix}/${rest}`;
      if (objects.unprotected.includes(object)) continue;
      const measured = protect(join(folder, object));
      if (measured !== prefix + rest) otherwise[object] = measured;
    }
  }
  protect(join(repository, "meta.json"));
  return otherwise;
}

function contentOf(file: string): string {
  return createHash("sha256")
    .update(readFileSync(join(at, file)))
    .digest("hex");
}

/** "ok", or the error's name. */
function outcome(action: () => unknown): string {
  try {
    action();
    return "ok";
  } catch (error) {
    return ["EIO", "ENOENT"].find((name) => isErrno(error, name)) ?? String(error);
  }
}

function readAt(file: string, position: number): void {
  const fd = openSync(join(at, file), "r");
  try {
    if (readSync(fd, Buffer.alloc(1), 0, 1, position) !== 1) throw new Error("nothing was read");
  } finally {
    closeSync(fd);
  }
}

function flip(positions: readonly number[]): void {
  const fd = openSync(disk, constants.O_RDWR | constants.O_SYNC);
  const byte = Buffer.alloc(1);
  for (const position of positions) {
    if (readSync(fd, byte, 0, 1, position) !== 1) throw new Error(`nothing at ${position}`);
    byte[0] = (byte[0] ?? 0) ^ 1;
    writeSync(fd, byte, 0, 1, position);
  }
  fsyncSync(fd);
  closeSync(fd);
}

function refusal(image: string, digest?: string): Refusal {
  try {
    mountImage({ repository, image, directory: at, ...(digest === undefined ? {} : { digest }) });
  } catch (error) {
    if (error instanceof OneholdError) return { code: error.code, message: error.message };
    throw error;
  }
  unmountImage(at);
  return { code: "none", message: "it was mounted" };
}

function ourMounts(): string[] {
  return mountTable()
    .filter(({ type }) => type === "overlay" || type === "erofs")
    .map(({ mountPoint }) => mountPoint);
}

function runProgram(...args: string[]): unknown {
  const words = ["/app/dist/onehold.mjs", "internals", ...args, "--json"];
  return JSON.parse(execFileSync(process.execPath, words, { encoding: "utf8" }));
}

mountTmpfs("/tmp");
for (const path of ["/tmp/disk", at]) mkdirSync(path);
mountDisk();
const plan = JSON.parse(readFileSync("/tmp/disk/plan.json", "utf8")) as GuestPlan;

const vectors: Record<string, string> = {};
for (const name of plan.vectors) {
  vectors[name] = protect(join("/tmp/disk/vectors", name), name.startsWith("sha512") ? "sha512" : "sha256");
}
const otherwise = protectObjects(plan);

const { verity, backing, digest } = mountImage({ repository, image: plan.images.good, directory: at });
const options = mountTable().find(({ mountPoint }) => mountPoint === at)?.superOptions ?? [];
const good = Object.fromEntries(plan.goodFiles.map((file) => [file, contentOf(file)]));
const reads = {
  replaced: outcome(() => contentOf("replaced")),
  missing: outcome(() => contentOf("missing")),
  unprotected: outcome(() => contentOf("unprotected")),
};
unmountImage(at);
const mountsLeft = ourMounts();

// What is in memory already is not checked again.
unmount("/tmp/disk");
flip(plan.flips);
mountDisk();
const program = runProgram("mount", plan.images.good, at, "--repo", repository);
const afterFlip = {
  firstBlock: outcome(() => readAt("flipped", 0)),
  flippedBlock: outcome(() => readAt("flipped", plan.flippedAt)),
  wholeGoodFile: outcome(() => contentOf(plan.goodFiles[0] ?? "")),
};
runProgram("umount", at);
const refusals = {
  flipped: refusal(plan.images.flipped),
  misnamed: refusal(plan.images.misnamed),
  unprotected: refusal(plan.images.unprotected),
  lonely: refusal(plan.images.lonely),
  otherDigest: refusal(plan.images.good, plan.images.lonely),
};
mountsLeft.push(...ourMounts());
unmount("/tmp/disk");

const report: GuestReport = {
  vectors,
  otherwise,
  mounted: { verity, backing, digest },
  options,
  good,
  reads,
  mountsLeft,
  afterFlip,
  refusals,
  program,
};
writeSync(3, JSON.stringify(report));
