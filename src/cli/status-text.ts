import { formatBytes } from "#base/amounts.ts";
import { shortDigest } from "#base/digest.ts";
import type {
  BootEntryDocument,
  HostDocument,
  ImageReferenceDocument,
  ImageStatusDocument,
  StorageState,
  UsrOverlay,
} from "#host/status-document.ts";
import { printableLine } from "./printable.ts";

/** Without a value, the line is left out. */
type Row = readonly [label: string, value: string | undefined];

/** A host for people: a block for each deployment, with bootc's labels for what bootc has too. */
export function renderStatus({ status }: HostDocument, { verbose }: { readonly verbose: boolean }): string {
  const { staged, booted, rollback, otherDeployments = [], rollbackQueued, readOnly } = status;
  const show = (heading: string, entry: BootEntryDocument | null, more: readonly Row[] = []): string[] =>
    entry === null
      ? []
      : [renderBlock(heading, headingOf(entry), [...rowsOf(entry), ...more, ...(verbose ? detailsOf(entry) : [])])];
  const parts = [
    ...show("Staged image", staged),
    ...show("● Booted image", booted, [["/usr overlay", overlayText(status.usrOverlay)]]),
    ...show("Rollback image", rollback),
    ...otherDeployments.flatMap((other) =>
      show(booted === null && other.onehold.index === 0 ? "Next image" : "Other image", other),
    ),
    ...(rollbackQueued ? ["The rollback image boots next.\n"] : []),
    ...(readOnly ? ["The sysroot is on a medium that can't be written to.\n"] : []),
  ];
  return parts.length === 0 ? "No deployment.\n" : parts.join("\n");
}

/** Labels end in one column, where the heading's does. */
function renderBlock(heading: string, name: string, rows: readonly Row[]): string {
  const lines = [[heading, name] as const, ...rows];
  const width = Math.max(16, ...lines.map(([label]) => label.length));
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([label, value = ""]) => `${label.padStart(width)}${label === "" ? " " : ":"} ${printableLine(value)}\n`)
    .join("");
}

function headingOf({ image, incompatible, ostree }: BootEntryDocument): string {
  if (image !== null) return referenceText(image.image);
  return incompatible ? `${ostree.checksum} (changed by rpm-ostree)` : `${ostree.checksum} (no container image)`;
}

function rowsOf({ image, cachedUpdate, pinned, onehold }: BootEntryDocument): Row[] {
  const { storage, boundImages, bytes } = onehold;
  const bound = boundImages?.map(({ image: name, digest, present }) => {
    const about = [...(digest === null ? [] : [shortDigest(digest)]), ...(present ? [] : ["missing"])];
    return `${name} (${about.join(", ")})`;
  });
  return [
    ...imageRows(image, ""),
    ...imageRows(cachedUpdate, "Update"),
    ["Pinned", pinned ? "yes" : undefined],
    ["Storage", storage === null ? undefined : storageText(storage)],
    [
      "On disk",
      bytes
        ? `${formatBytes(bytes.bytes)}: ${formatBytes(bytes.shared)} shared, ${formatBytes(bytes.copied)} held twice; ${formatBytes(bytes.exclusive)} in no other image`
        : undefined,
    ],
    ...(bound ?? ["can't be read"]).map((text, index): Row => [index === 0 ? "Bound images" : "", text]),
  ];
}

function imageRows(image: ImageStatusDocument | null, prefix: string): Row[] {
  if (image === null) return [];
  const { imageDigest, architecture, version, timestamp } = image;
  const parts = [...(version === null ? [] : [version]), ...(timestamp === null ? [] : [`(${timestamp})`])];
  return [
    [`${prefix}Digest`, `${imageDigest} (${architecture})`],
    [`${prefix}Version`, parts.length === 0 ? undefined : parts.join(" ")],
  ];
}

function detailsOf({ image, ostree, downloadOnly, onehold }: BootEntryDocument): Row[] {
  return [
    ["StateRoot", ostree.stateroot],
    ["Deploy serial", String(ostree.deploySerial)],
    ["Commit", ostree.checksum],
    ["Signature", signatureText(image?.image.signature)],
    ["Download-only", downloadOnly ? "yes" : undefined],
    ["Kernel arguments", onehold.kernelArguments.join(" ")],
  ];
}

function referenceText({ image, transport }: ImageReferenceDocument): string {
  return transport === "registry" ? image : `${transport}:${image}`;
}

function storageText({ mode, inEffect, reason }: StorageState): string {
  return inEffect ? mode : `not ${mode}: ${reason ?? "it is not known why"}`;
}

function signatureText(signature: ImageReferenceDocument["signature"]): string | undefined {
  if (signature === undefined || signature === "containerPolicy") return signature;
  return `ostree remote ${signature.ostreeRemote}`;
}

function overlayText(overlay: UsrOverlay | null): string | undefined {
  if (overlay === null) return undefined;
  const access = overlay.accessMode === "readWrite" ? "read/write" : "read-only";
  return `${overlay.persistence}, ${access}`;
}
