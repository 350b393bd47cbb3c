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
import { byteStringOfText } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { objectIdOf } from "#formats/composefs-objects.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { mountImage, unmountImage } from "#host/composefs-mount.ts";
import { openFile } from "#linux/descriptor.ts";
import { mount, mountTable, mountTmpfs, unmount } from "#linux/mounts.ts";
import { isErrno } from "#linux/system-error.ts";
import { enableVerity, measureVerity, type VerityMeasurement } from "#linux/verity.ts";
import { objectFile, problemOfObject } from "#stores/composefs/objects.ts";
import { createRepository } from "#stores/composefs/repository.ts";
import { addOurImage } from "../mount/our-repository.ts";
import type { GuestPlan, GuestReport, Refusal } from "./guest-plan.ts";

const disk = "/dev/vdc";
const at = "/tmp/mnt";
const ownSize = 300_000;
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

function refusal(image: string, digest?: string, from = repository): Refusal {
  try {
    mountImage({ repository: from, image, directory: at, ...(digest === undefined ? {} : { digest }) });
  } catch (error) {
    if (error instanceof OneholdError) return { code: error.code, message: error.message };
    throw error;
  }
  unmountImage(at);
  return { code: "none", message: "it was mounted" };
}

/** A file of 300,000 bytes in a secure repository that our own code makes. */
function ownRepository(): GuestReport["own"] {
  const path = "/tmp/disk/own";
  const own = createRepository(path, { algorithm: "sha512", format: 1, extraFormats: [0, 2], verity: "yes" });
  const metadata = { permissions: 0o755, uid: 0, gid: 0, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: [] };
  const content = Buffer.alloc(ownSize, "own content");
  const file = { kind: "external", metadata, size: ownSize, path: byteStringOfText("x"), digest: undefined } as const;
  const tree = { kind: "directory", metadata, entries: new Map([[byteStringOfText("file"), file]]) } as const;
  const files: Record<string, string> = {};
  const problems: string[] = [];
  for (const format of [0, 1, 2] as const) {
    const id = addOurImage(own, tree, format, () => content);
    mountImage({ repository: path, image: id, directory: at });
    files[format] = contentOf("file");
    unmountImage(at);
    const problem = problemOfObject(own, id);
    if (problem !== undefined) problems.push(problem);
  }
  const id = objectIdOf(verityDigest("sha512", content));
  const problem = problemOfObject(own, id);
  if (problem !== undefined) problems.push(problem);
  rmSync(objectFile(own, id));
  writeFileSync(objectFile(own, id), content);
  const bare = refusal("test/v1", undefined, path).message;
  return { secure: own.secure, files, problems, bare, problemOfBare: problemOfObject(own, id) };
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
const own = ownRepository();
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
  own,
  program,
};
writeSync(3, JSON.stringify(report));
