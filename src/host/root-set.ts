import fs from "node:fs";
import path from "node:path";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { Attempts } from "#boot/attempts.ts";
import { type Deployment, readDeployments } from "#boot/deployments.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { formatReference, parseReference } from "#image/reference.ts";
import { imageOfCommit } from "#stores/ostree/committed-image.ts";
import { isBlobRef, isOfImage } from "#stores/ostree/refs.ts";
import { findBorrowers } from "./borrowers.ts";
import { rolesOf } from "./deployment/roles.ts";
import type { Inventory } from "./inventory.ts";
import { readJournal } from "./journal.ts";
import { listPins } from "./pins.ts";
import { StoredImages, storedNameOf } from "./status-storage.ts";
import type { Sysroot } from "./sysroot.ts";

/** The one answer to "may this go?": every store sweeps against it. */
export interface RootSet {
  /** The manifest digests that must stay, each with its reasons, in words for people. */
  readonly reasons: ReadonlyMap<Digest, readonly string[]>;
  /** Layers of the image store that other stores of podman stand on, by id. */
  readonly borrowedLayers: ReadonlySet<string>;
  /** Names by which deployments find their bound images. */
  readonly boundNames: ReadonlySet<string>;
  /** Commits of the deployments. */
  readonly deployed: ReadonlySet<Checksum>;
  /** What could not be read. While there is anything, nothing may be removed: see `demandWholeRootSet`. */
  readonly problems: readonly OneholdError[];
}

/** Takes no lock and writes nothing. `hostRoot`: where the running host is; `/`, elsewhere in tests. */
export function rootSet(sysroot: Sysroot, inventory: Inventory, hostRoot: string): RootSet {
  const roots = new Map<Digest, string[]>();
  const attempts = new Attempts();
  const add = (digest: Digest, reason: string) => {
    const reasons = roots.get(digest) ?? [];
    if (!reasons.includes(reason)) roots.set(digest, [...reasons, reason]);
  };
  const { deployments, problems } = readDeployments(sysroot.path, hostRoot);
  const ofHost = ofDeployments(sysroot, inventory, deployments, attempts);
  for (const { digest, reason } of ofHost) add(digest, reason);
  for (const { digest, reason } of ofRefs(inventory, new Set(roots.keys()))) add(digest, reason);
  for (const pin of listPins(sysroot)) add(pin.digest, `pinned as ${pin.reference}`);
  const borrowed = attempts.try(() => ofBorrowers(sysroot, inventory, hostRoot));
  for (const { digest, reason } of borrowed?.roots ?? []) add(digest, reason);
  for (const { digest, reason } of ofOperation(sysroot, inventory)) add(digest, reason);
  return {
    reasons: roots,
    boundNames: new Set(ofHost.flatMap(({ bound }) => (bound && storedNameOf(bound)) ?? [])),
    borrowedLayers: borrowed?.layers ?? new Set(),
    deployed: new Set(deployments.map(({ checksum }) => checksum)),
    problems: [...problems, ...bootIsMissing(sysroot, deployments), ...attempts.failures],
  };
}

/** @throws OneholdError where something could not be read that may need what is to go */
export function demandWholeRootSet({ problems }: RootSet): void {
  const [problem] = problems;
  if (problem === undefined) return;
  const { code, message, hint, subject } = problem;
  throw new OneholdError(code, `nothing may be removed, since it is not known what must stay: ${message}`, {
    cause: problem,
    ...(subject === undefined ? {} : { subject }),
    hint: hint ?? "`onehold status` shows what the host has, `ostree admin status` what ostree makes of it.",
  });
}

interface Root {
  readonly digest: Digest;
  readonly reason: string;
  /** Of a bound image: as the unit names it. */
  readonly bound?: string;
}

function ofDeployments(
  sysroot: Sysroot,
  { ostree }: Inventory,
  deployments: readonly Deployment[],
  attempts: Attempts,
): Root[] {
  const { booted, staged, rollback } = rolesOf(deployments);
  const roleOf = (deployment: Deployment) => {
    if (deployment === booted) return "booted";
    if (deployment === staged) return "staged";
    return deployment === rollback ? "rollback" : "deployed";
  };
  const stored = deployments.length === 0 ? undefined : attempts.try(() => new StoredImages(sysroot));
  return deployments.flatMap((deployment) => {
    const { checksum, directory, origin } = deployment;
    const role = `${roleOf(deployment)}${origin?.pinned === true ? " (pinned)" : ""}`;
    const digest = ostree && attempts.try(() => imageOfCommit(ostree, checksum), directory)?.manifestDigest;
    const bound = stored && attempts.try(() => stored.boundImages(deployment), directory);
    return [
      ...(digest === undefined ? [] : [{ digest, reason: role }]),
      ...(bound ?? []).flatMap(({ digest: demanded, image }) =>
        demanded === null
          ? []
          : [{ digest: demanded, reason: `bound to ${checksum.slice(0, 12)} as ${image}`, bound: image }],
      ),
    ];
  });
}

/** Refs and tags of other programs. `deployed`: of these it is known already. */
function ofRefs({ inOstree, inComposefs }: Inventory, deployed: ReadonlySet<Digest>): Root[] {
  const tags = inComposefs.flatMap(({ manifestDigest: digest, tags: all }) =>
    all
      .filter((tag) => !isReferenceTag(tag) && !isPinTag(tag))
      .map((tag) => ({ digest, reason: `kept by the composefs tag ${tag}` })),
  );
  const refs = inOstree.flatMap(({ manifestDigest: digest, refs: all }) =>
    all
      .filter((ref) => !isOfImage(ref) && !isBlobRef(ref))
      .filter((ref) => !(isDeploymentRef(ref) && deployed.has(digest)))
      .map((ref) => ({ digest, reason: isDeploymentRef(ref) ? "deployed" : `kept by the ostree ref ${ref}` })),
  );
  return [...tags, ...refs];
}

/** libostree gives each deployment a ref `ostree/<boot version>/<subversion>/<index>`. */
function isDeploymentRef(ref: string): boolean {
  return /^ostree\/[01]\/[01]\/\d+$/.test(ref);
}

function ofBorrowers(sysroot: Sysroot, { imageStore, stored }: Inventory, hostRoot: string) {
  const borrowers = imageStore === undefined ? [] : findBorrowers(sysroot, imageStore, hostRoot);
  const roots = borrowers.flatMap(({ store, images }) =>
    stored
      .filter(({ image }) => images.has(image.id))
      .map(({ image }) => ({ digest: image.digest, reason: `borrowed by the podman store ${store}` })),
  );
  return { roots, layers: new Set(borrowers.flatMap(({ layers }) => [...layers])) };
}

/** What another process works on at this moment. */
function ofOperation(sysroot: Sysroot, { stored }: Inventory): Root[] {
  const operation = readJournal(sysroot);
  if (operation?.subject === undefined || operation.pid === process.pid) return [];
  const name = storedNameOf(operation.subject);
  return stored.flatMap(({ image: { digest, names } }) =>
    name !== undefined && names.includes(name) ? [{ digest, reason: `in the works: ${operation.verb}` }] : [],
  );
}

/** A disk that is not mounted whole looks like one without deployments. */
function bootIsMissing({ path: sysroot }: Sysroot, deployments: readonly Deployment[]): OneholdError[] {
  const boot = path.join(sysroot, "boot");
  if (deployments.length > 0 || fs.existsSync(path.join(boot, "loader"))) return [];
  const deploy = path.join(sysroot, "ostree/deploy");
  const names = (folder: string) => (fs.existsSync(folder) ? fs.readdirSync(folder) : []);
  if (names(deploy).every((stateroot) => names(path.join(deploy, stateroot, "deploy")).length === 0)) return [];
  return [
    new OneholdError("not-found", `${deploy} has deployments, but ${boot} has no boot entries`, {
      subject: boot,
      hint: `Mount the file system of /boot at ${boot}.`,
    }),
  ];
}

const pinTag = "onehold/pinned/";

/** The tag that keeps a pinned image in a composefs repository, whoever sweeps it. */
export function pinTagOf(digest: Digest): string {
  return pinTag + digest;
}

export function isPinTag(tag: string): boolean {
  return tag.startsWith(pinTag);
}

/** Whether a tag of a composefs repository says where an image came from, as those do that a pull makes. */
export function isReferenceTag(tag: string): boolean {
  try {
    return formatReference(parseReference(tag)) === tag;
  } catch {
    return false;
  }
}
