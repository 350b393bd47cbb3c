import fs from "node:fs";
import path from "node:path";
import * as v from "valibot";
import { type Digest, isDigest } from "#base/digest.ts";
import { removeDurably, writeFileDurably } from "#linux/durable.ts";
import { isErrno } from "#linux/system-error.ts";
import type { Sysroot } from "../sysroot.ts";

const digest = v.custom<Digest>((input) => typeof input === "string" && isDigest(input));

const schema = v.object({
  version: v.literal(1),
  /** Manifest digest of the host image. */
  digest,
  /** Where it came from, which need not be what the deployment follows. */
  reference: v.string(),
  /** As they were when it was deployed: a tag that moves on changes nothing here. */
  boundImages: v.array(v.object({ image: v.string(), unit: v.string(), digest })),
});

/** What a deployment was made with, `onehold/deployments/<checksum>.<serial>.json`. */
export type DeploymentRecord = v.InferOutput<typeof schema>;

/** `undefined` for a deployment that Onehold did not make, or whose record can't be read. `name`: `<checksum>.<serial>`. */
export function readDeploymentRecord(sysroot: Sysroot, name: string): DeploymentRecord | undefined {
  try {
    return v.parse(schema, JSON.parse(fs.readFileSync(fileOf(sysroot, name), "utf8")));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR") || v.isValiError(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function writeDeploymentRecord(sysroot: Sysroot, name: string, record: Omit<DeploymentRecord, "version">): void {
  fs.mkdirSync(folderOf(sysroot), { recursive: true, mode: 0o755 });
  writeFileDurably(fileOf(sysroot, name), `${JSON.stringify({ version: 1, ...record }, undefined, 2)}\n`);
}

/** Of deployments that are there, by their directories. */
function listDeploymentRecords(sysroot: Sysroot): { name: string; record: DeploymentRecord }[] {
  const deploy = path.join(sysroot.path, "ostree/deploy");
  const names = namesIn(deploy).flatMap((stateroot) => namesIn(path.join(deploy, stateroot, "deploy")));
  return names.flatMap((name) => {
    const record = /^[0-9a-f]{64}\.\d+$/.test(name) ? readDeploymentRecord(sysroot, name) : undefined;
    return record === undefined ? [] : [{ name, record }];
  });
}

/** Forgets deployments that are there no more. */
export function pruneDeploymentRecords(sysroot: Sysroot): void {
  const there = new Set(listDeploymentRecords(sysroot).map(({ name }) => `${name}.json`));
  for (const name of namesIn(folderOf(sysroot)))
    if (!there.has(name)) removeDurably(path.join(folderOf(sysroot), name));
}

function folderOf({ state }: Sysroot): string {
  return path.join(state.path, "deployments");
}

function fileOf(sysroot: Sysroot, name: string): string {
  return path.join(folderOf(sysroot), `${name}.json`);
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}
