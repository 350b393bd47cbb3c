import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "#base/digest.ts";
import { runProgram } from "#fixtures/programs.ts";
import { onehold } from "#fixtures/onehold.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { readDeployments } from "#boot/deployments.ts";
import { readConfig, readManifest } from "#stores/containers-storage/images.ts";
import { listImagesWithLayers, listIncompleteImages, openImageStore } from "#stores/containers-storage/store.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { openRepository as openComposefs, repositoryExists } from "#stores/composefs/repository.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import { fileObjectsOf } from "#stores/ostree/reachable.ts";
import { hasObject, openRepository } from "#stores/ostree/repository.ts";

export interface GcReport {
  readonly dryRun: boolean;
  readonly stores: readonly {
    readonly store: string;
    readonly images: readonly string[];
    readonly parts: number;
    readonly bytes: number;
  }[];
  readonly freed: number;
  readonly deferred: readonly { readonly digest: string; readonly container: string }[];
}

/** Runs `gc`, which must do what `gc --dry-run` has told. */
export async function collect(sysroot: string): Promise<GcReport> {
  const told = await onehold<GcReport>(sysroot, ["gc", "--dry-run"]);
  const done = await onehold<GcReport>(sysroot, ["gc"]);
  assert.deepEqual([told.dryRun, done.dryRun], [true, false]);
  assert.deepEqual({ ...done, dryRun: true }, told);
  return done;
}

/** What of each image went from which stores. */
export function wentFrom(report: GcReport): Record<string, string[]> {
  const went: Record<string, string[]> = {};
  for (const { store, images } of report.stores) for (const digest of images) (went[digest] ??= []).push(store);
  return went;
}

/** What the image store holds, read by ourselves: every image whole. */
export function storedDigests(sysroot: string): Digest[] {
  const store = openImageStore(join(sysroot, "ostree/bootc/storage"));
  assert.deepEqual(listIncompleteImages(store), []);
  const images = listImagesWithLayers(store);
  for (const { image, layers } of images) {
    assert.ok(readManifest(image).length > 0 && readConfig(image).length > 0);
    for (const layer of layers) assert.ok(readdirSync(layer.diffPath).length > 0);
  }
  return images.map(({ image }) => image.digest).toSorted();
}

/** Every deployment has all that its commit needs. */
export function assertDeploymentsWhole(sysroot: string): void {
  const { deployments, problems } = readDeployments(sysroot, "/");
  assert.deepEqual(problems, []);
  const repository = openRepository(join(sysroot, "ostree/repo"));
  for (const { checksum } of deployments) {
    const files = fileObjectsOf(repository, checksum);
    assert.ok(files.size > 3);
    for (const file of files) assert.ok(hasObject(repository, file, "file"), `${file} of ${checksum}`);
  }
}

/** After a sweep: nothing is left that nobody reaches, as the stores' own programs see it. */
export async function assertSwept(sysroot: string): Promise<void> {
  const repository = join(sysroot, "ostree/repo");
  const prune = ["prune", "--no-prune", "--refs-only", "--depth=0"];
  assert.match(await runProgram("ostree", [`--repo=${repository}`, ...prune]), /No unreachable objects/);
  if (repositoryExists(join(sysroot, "composefs"))) {
    const composefs = openComposefs(join(sysroot, "composefs"));
    assert.deepEqual(await sweepRepository(composefs, { dryRun: true }), { objects: 0, bytes: 0, links: 0 });
  }
  const storage = join(sysroot, "ostree/bootc/storage");
  const needed = listImagesWithLayers(openImageStore(storage)).flatMap(({ layers }) => layers.map(({ id }) => id));
  const there = readdirSync(join(storage, "overlay")).filter((name) => /^[0-9a-f]{64}$/.test(name));
  assert.deepEqual(there.toSorted(), [...new Set(needed)].toSorted());
}

/** What the other programs say of the stores. */
export async function assertSound(sysroot: string): Promise<void> {
  await runProgram("ostree", [`--repo=${join(sysroot, "ostree/repo")}`, "fsck", "--quiet"]);
  if (repositoryExists(join(sysroot, "composefs"))) {
    assert.deepEqual((await checkRepository(openComposefs(join(sysroot, "composefs")))).problems, []);
  }
  await using folder = await makeTemporaryFolder("podman");
  const stores = ["--root", join(folder.path, "root"), "--runroot", join(folder.path, "run")];
  const additional = ["--storage-opt", `additionalimagestore=${join(sysroot, "ostree/bootc/storage")}`];
  const podman = ["podman", ...stores, "--storage-driver", "overlay", ...additional];
  const list = [...podman, "images", "--all", "--quiet", "--no-trunc"];
  const listed = await runProgram("unshare", ["--mount", "--propagation", "private", ...list]);
  const ids = new Set(
    listed
      .trim()
      .split("\n")
      .filter((line) => line !== ""),
  );
  const ours = listImagesWithLayers(openImageStore(join(sysroot, "ostree/bootc/storage")));
  assert.deepEqual([...ids].toSorted(), ours.map(({ image }) => `sha256:${image.id}`).toSorted());
}
