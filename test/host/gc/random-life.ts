import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { readDeployments } from "#boot/deployments.ts";
import { onehold, type PullReport, tryOnehold } from "#fixtures/onehold.ts";
import type { Image } from "#fixtures/oci-layout.ts";
import { runProgram } from "#fixtures/programs.ts";
import { gc, planGc } from "#host/gc.ts";
import type { HostContext } from "#host/operation.ts";
import { pin, unpin } from "#host/pin.ts";
import { remove } from "#host/remove.ts";
import { openSysroot } from "#host/sysroot.ts";
import type { SmallImages } from "./small-images.ts";
import { assertDeploymentsWhole, assertSound, assertSwept, storedDigests } from "./stores.ts";

const tags = ["app", "mine", "os", "other"] as const;
type Tag = (typeof tags)[number];

interface Deployed {
  readonly image: Image;
  /** Of the app that it was made with, where that is recorded: else it is what the name stands for. */
  readonly app: string | undefined;
}

/** What the image store must hold after a sweep. */
interface Model {
  readonly tags: Map<Tag, Image>;
  readonly pins: Set<string>;
  /** What boots next is first. */
  readonly deployed: Deployed[];
  /** In ostree, by manifest digest. */
  readonly commits: Map<string, string>;
}

export type Random = (below: number) => number;

/** The same numbers for the same seed (mulberry32). */
export function randomNumbers(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const stages = {
  pull: ["pulling", "pulled", "sharing", "publishing", "refs", "composefs", "recording"],
  gc: ["dropping", "removing", "pruning", "sweeping", "forgetting"],
};

/** One host's life: pulls, pins, deploys, removes and is killed at random, and is swept. */
export async function liveRandomly(folder: string, images: SmallImages, steps: number, random: Random): Promise<void> {
  const path = join(folder, "sysroot");
  mkdirSync(join(path, "boot"), { recursive: true });
  const ostree = (...args: string[]) =>
    runProgram("ostree", ["admin", ...args], { env: { ...process.env, OSTREE_SYSROOT_DEBUG: "mutable-deployments" } });
  await ostree("init-fs", path);
  await runProgram("ostree", [`--repo=${join(path, "ostree/repo")}`, "config", "set", "sysroot.bootloader", "none"]);
  await ostree("os-init", "test", `--sysroot=${path}`);
  await onehold(path, ["init", "--backend", random(2) === 0 ? "both" : "ostree"]);
  const context: HostContext = {
    sysroot: openSysroot(path),
    hostRoot: "/",
    report: () => undefined,
    signal: new AbortController().signal,
    workers: pathToFileURL("/nowhere/"),
  };
  const model: Model = { tags: new Map(), pins: new Set(), deployed: [], commits: new Map() };
  const killed = async (args: string[], among: readonly string[]) => {
    await tryOnehold(path, args, { env: { ONEHOLD_KILL_AT: among[random(among.length)] ?? "" } });
    check(path, model);
  };
  const pull = async (kill: boolean) => {
    const tag = tags[random(tags.length)] ?? "os";
    const image = await images.tag(tag, tag === "os" || tag === "other" ? "host" : "app", random(6));
    const args = ["image", "pull", images.reference(tag)];
    if (kill) await killed(args, stages.pull);
    const report = await onehold<PullReport>(path, args);
    assert.equal(report.digest, image.manifestDigest);
    model.tags.set(tag, image);
    if (report.ostree !== undefined) model.commits.set(image.manifestDigest, report.ostree.commit);
  };
  const named = () => [...model.tags.keys()][random(model.tags.size)];
  const sweep = async (kill: boolean) => {
    if (kill) await killed(["gc"], stages.gc);
    const told = planGc(context);
    assert.deepEqual({ ...(await gc(context)), dryRun: true }, told);
    check(path, model);
    assert.deepEqual(storedDigests(path), [...wanted(model)].toSorted());
    await assertSwept(path);
  };
  const actions: readonly (() => Promise<void>)[] = [
    () => pull(false),
    () => pull(false),
    () => pull(random(2) === 0),
    async () => {
      const tag = named();
      if (tag === undefined) return;
      await pin(context, images.reference(tag));
      model.pins.add(model.tags.get(tag)?.manifestDigest ?? "");
    },
    async () => {
      const digest = [...model.pins][random(model.pins.size)];
      if (digest === undefined) return;
      await unpin(context, digest);
      model.pins.delete(digest);
    },
    async () => {
      const image = model.tags.get(random(2) === 0 ? "os" : "other");
      if (image === undefined) return pull(false);
      const commit = model.commits.get(image.manifestDigest) ?? "";
      await ostree("deploy", `--sysroot=${path}`, "--os=test", "--no-prune", "--retain", commit);
      const [next] = readDeployments(path, "/").deployments;
      const app = model.tags.get("app")?.manifestDigest;
      const record = join(path, "onehold/deployments", `${commit}.${next?.serial}.json`);
      const bound = [{ image: images.name("app"), unit: "app.image", digest: app }];
      mkdirSync(dirname(record), { recursive: true });
      rmSync(record, { force: true });
      if (app !== undefined) {
        const documents = { version: 1, digest: image.manifestDigest, reference: "docker://os", boundImages: bound };
        writeFileSync(record, JSON.stringify(documents));
      }
      model.deployed.unshift({ image, app });
    },
    async () => {
      if (model.deployed.length === 0) return;
      const index = random(model.deployed.length);
      await ostree("undeploy", `--sysroot=${path}`, String(index));
      model.deployed.splice(index, 1);
    },
    async () => {
      const tag = named();
      const image = tag && model.tags.get(tag);
      if (tag === undefined || image === undefined) return;
      const others = [...model.tags].some(
        ([each, { manifestDigest }]) => each !== tag && manifestDigest === image.manifestDigest,
      );
      const bound = tag === "app" && model.deployed.length > 0;
      const mayGo = (others && !bound) || !rootsOf(model).has(image.manifestDigest);
      if (!mayGo) return assert.rejects(remove(context, images.reference(tag)), /can't be removed/);
      await remove(context, images.reference(tag));
      model.tags.delete(tag);
    },
    () => sweep(false),
    () => sweep(random(2) === 0),
  ];
  for (let step = 0; step < steps; step += 1) await actions[random(actions.length)]?.();
  await sweep(false);
  await assertSound(path);
}

function rootsOf({ tags: named, pins, deployed }: Model): Set<string> {
  const app = named.get("app")?.manifestDigest;
  const bound = deployed.flatMap((each) => each.app ?? app ?? []);
  return new Set([...pins, ...deployed.map(({ image }) => image.manifestDigest), ...bound]);
}

function wanted(model: Model): Set<string> {
  return rootsOf(model).union(new Set([...model.tags.values()].map(({ manifestDigest }) => manifestDigest)));
}

/** Whatever has happened: what must stay is there, and whole. */
function check(path: string, model: Model): void {
  assertDeploymentsWhole(path);
  const there = storedDigests(path);
  for (const digest of rootsOf(model))
    assert.ok(
      there.some((each) => each === digest),
      `${digest} is gone`,
    );
  assert.equal(readDeployments(path, "/").deployments.length, model.deployed.length);
}
