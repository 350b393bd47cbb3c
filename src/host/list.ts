import { formatBytes } from "#base/amounts.ts";
import type { Digest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";
import { parseConfig } from "#formats/oci.ts";
import { isHostImage } from "#image/host-image.ts";
import { type ImageRecord, readConfig } from "#stores/containers-storage/images.ts";
import type { ComposefsImage } from "#stores/composefs/images.ts";
import type { OstreeImage } from "#stores/ostree/images.ts";
import { takeInventory } from "./inventory.ts";
import { type ImageNote, readNote } from "./records.ts";
import { isReferenceTag, rootSet } from "./root-set.ts";
import type { Sysroot } from "./sysroot.ts";

/** An image of a host, whichever stores hold it. */
export interface ListedImage {
  /** Empty for an image that lost its name to a newer one. */
  readonly names: readonly string[];
  /** Of the manifest. */
  readonly digest: Digest;
  readonly type: "host" | "logical";
  /** Bytes of its layers' tars, as podman counts them; null where the image store does not have the image. */
  readonly size: number | null;
  readonly stores: readonly ("image store" | "ostree" | "composefs")[];
  /** Why it stays; empty: nothing protects it. */
  readonly reasons: readonly string[];
  /** What a store can't hold of it, and other things to know. */
  readonly notes: readonly string[];
}

export interface ListedImages {
  readonly images: readonly ListedImage[];
  /** Why it is not certain what must stay: until that is repaired, nothing is removed. */
  readonly problems: readonly OneholdError[];
}

export type ImageType = "all" | "host" | "logical";

/** What the stores hold, by manifest digest. Takes no lock and writes nothing. `hostRoot`: where the running host is. */
export function listHostImages(sysroot: Sysroot, type: ImageType, hostRoot: string): ListedImages {
  const inventory = takeInventory(sysroot);
  const ostree = new Map(inventory.inOstree.map((image) => [image.manifestDigest, image]));
  const composefs = new Map(inventory.inComposefs.map((image) => [image.manifestDigest, image]));
  const roots = rootSet(sysroot, inventory, hostRoot);
  const describe = (
    digest: Digest,
    stored: ImageRecord | undefined,
    size: number | null,
    labelled: boolean,
  ): ListedImage => {
    const inOstree = ostree.get(digest);
    const inComposefs = composefs.get(digest);
    const references = [...(inOstree?.references ?? []), ...(inComposefs?.tags.filter(isReferenceTag) ?? [])];
    const names = new Set(stored?.names ?? references.map((name) => name.replace(/^docker:\/\//, "")));
    return {
      names: [...names],
      digest,
      type: labelled || inOstree !== undefined || inComposefs !== undefined ? "host" : "logical",
      size,
      stores: [
        ...(stored === undefined ? [] : ["image store" as const]),
        ...(inOstree === undefined ? [] : ["ostree" as const]),
        ...(inComposefs === undefined ? [] : ["composefs" as const]),
      ],
      reasons: [...new Set([digest, ...(stored?.digests ?? [])].flatMap((each) => roots.reasons.get(each) ?? []))],
      notes: notesOn(sysroot, digest, sysroot.backend === "composefs" ? inComposefs : inOstree),
    };
  };
  const images: ListedImage[] = [];
  for (const { image, layers } of inventory.stored) {
    const size = layers.reduce((sum, layer) => sum + (layer.diffSize ?? 0), 0);
    const labelled = isLabelledHost(image);
    if (labelled !== undefined) images.push(describe(image.digest, image, size, labelled));
  }
  const seen = new Set(images.map((image) => image.digest));
  for (const digest of new Set([...ostree.keys(), ...composefs.keys()]))
    if (!seen.has(digest)) images.push(describe(digest, undefined, null, true));
  return {
    images: images.filter((image) => type === "all" || image.type === type),
    problems: roots.problems,
  };
}

/** `undefined`: the image was removed since it was listed. */
function isLabelledHost(image: ImageRecord): boolean | undefined {
  try {
    return isHostImage(parseConfig(readConfig(image)).labels);
  } catch (error) {
    if (error instanceof OneholdError && error.code === "not-found") return undefined;
    throw error;
  }
}

/** `projected`: the image in the store that a refusal is about. */
function notesOn(sysroot: Sysroot, digest: Digest, projected: OstreeImage | ComposefsImage | undefined): string[] {
  const { ostree, composefs } = readNote(sysroot, digest) ?? {};
  const refused = ostree?.state === "refused" && projected === undefined;
  const store = sysroot.backend === "composefs" ? "composefs" : "ostree";
  return [
    ...(refused ? [`not in ${store}: ${ostree.message}`] : []),
    ...notesOnOstree(ostree),
    ...notesOnComposefs(composefs),
  ];
}

function notesOnComposefs(note: ImageNote["composefs"]): string[] {
  if (note?.state !== "imported") return [];
  const notes = note.refused.map((why) => `not bootable from composefs: ${why}`);
  if (note.copied.bytes > 0) notes.push(`${formatBytes(note.copied.bytes)} copied into composefs`);
  return notes;
}

function notesOnOstree(note: ImageNote["ostree"]): string[] {
  if (note?.state !== "imported") return [];
  const notes: string[] = [];
  const { special, byRule } = note.leftOut;
  if (special.length > 0) notes.push(`left out of ostree: ${special.length} devices and FIFOs (${listed(special)})`);
  const rules = Object.entries(byRule);
  if (rules.length > 0)
    notes.push(`left out of ostree by its path rules: ${rules.map(([top, count]) => `${count} in ${top}`).join(", ")}`);
  if (note.copied.bytes > 0) notes.push(`${formatBytes(note.copied.bytes)} copied into ostree`);
  return notes;
}

function listed(paths: readonly string[]): string {
  return paths.length > 3 ? `${paths.slice(0, 3).join(", ")}, …` : paths.join(", ");
}
