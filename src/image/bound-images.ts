import { type ByteString, byteStringOfText, bytesOf, displayBytes, isUtf8, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

/** An app image that a host image demands beside itself: pulled before a version of the host is staged, kept as long as it. */
export interface BoundImage {
  /** As the unit names it; not normalised. */
  readonly image: string;
  /** The file name of the unit that names it, `app.container` or `app.image`. */
  readonly unit: string;
}

/** Of the directory below the host image's root; each entry is a symlink to a unit for podman's systemd generator. */
export const boundImagesFolder = byteStringOfText("usr/lib/bootc/bound-images.d");

/** What a unit may have, in bytes. */
export const maxUnitSize = 1 << 20;

export type BoundImageReason =
  | "not-a-symlink"
  | "not-utf8"
  | "other-extension"
  | "dangling"
  | "not-a-file"
  | "broken-unit"
  | "no-image"
  | "auth-file"
  | "specifier";

/** A host image that may not be used: what it demands is not clear, or not possible. */
export class BoundImageError extends OneholdError {
  override readonly name = "BoundImageError";
  readonly reason: BoundImageReason;

  constructor(reason: BoundImageReason, unit: ByteString, why: string) {
    const subject = `/${displayBytes(joinBytes(boundImagesFolder, unit))}`;
    super(reason === "auth-file" || reason === "specifier" ? "unsupported" : "corrupt", `${subject} ${why}`, {
      subject,
      hint: "Each entry there is a symlink to a .container or .image unit with Image=, in the image itself.",
    });
    this.reason = reason;
  }
}

/** The directory of bound images, in a deployment or in the tree of an image. */
export interface BoundUnits {
  /** undefined: there is no such directory. In no particular order. */
  readonly entries: () => Iterable<{ readonly name: ByteString; readonly isSymlink: boolean }> | undefined;
  /** What the symlink leads to, with the image's root as `/`; @throws BoundImageError "dangling", "not-a-file", "broken-unit" where it is too large */
  readonly read: (name: ByteString) => Buffer;
}

/** By bootc's rules: one entry that they reject makes the image one that can't be deployed. @throws BoundImageError */
export function findBoundImages(units: BoundUnits): BoundImage[] {
  const entries = [...(units.entries() ?? [])].toSorted((a, b) => Number(a.name > b.name) - Number(a.name < b.name));
  return entries.map(({ name, isSymlink }) => {
    if (!isSymlink) throw new BoundImageError("not-a-symlink", name, "is not a symlink");
    if (!isUtf8(name)) throw new BoundImageError("not-utf8", name, "has a name that is not UTF-8");
    const section = sectionOf(name);
    return { image: imageOf(units.read(name), section, name), unit: bytesOf(name).toString("utf8") };
  });
}

function sectionOf(name: ByteString): "Image" | "Container" {
  if (/^.+\.image$/s.test(name)) return "Image";
  if (/^.+\.container$/s.test(name)) return "Container";
  throw new BoundImageError("other-extension", name, "ends neither in .image nor in .container");
}

/** Of other keys none matters: which architecture, which secrets … is the unit's own business. */
function imageOf(text: Buffer, section: string, name: ByteString): string {
  const values = readSection(text, section, name);
  if (section === "Image" && values.has("AuthFile")) {
    throw new BoundImageError(
      "auth-file",
      name,
      "has AuthFile=, which a bound image can't have: its credentials are the host's",
    );
  }
  const image = values.get("Image");
  if (image === undefined || image === "") throw new BoundImageError("no-image", name, `has no Image= in [${section}]`);
  return withoutSpecifiers(image, name);
}

/** `%%` stands for `%`; what systemd would put in for others is not known before it runs. */
function withoutSpecifiers(image: string, name: ByteString): string {
  return image.replace(/%(.?)/gs, (specifier, character: string) => {
    if (character === "%") return "%";
    throw new BoundImageError(
      "specifier",
      name,
      `has ${JSON.stringify(specifier)} in Image=, a specifier of systemd's`,
    );
  });
}

/** Of a unit of systemd's: a line that ends in a backslash goes on in the next, and of a key the last value counts. */
function readSection(bytes: Buffer, section: string, name: ByteString): Map<string, string> {
  const values = new Map<string, string>();
  let inside = false;
  const text = decode(bytes, name).replace(/\\\r?\n/g, " ");
  for (const [, line = ""] of text.matchAll(/^[ \t]*(.*?)[ \t\r]*$/gm)) {
    if (line === "" || /^[#;]/.test(line)) continue;
    const [, title] = /^\[(.+)\]$/.exec(line) ?? [];
    const [, key, value] = /^([^=]*?)[ \t]*=[ \t]*(.*)$/.exec(line) ?? [];
    if (title !== undefined) inside = title === section;
    else if (key === undefined || value === undefined || key === "") {
      throw new BoundImageError(
        "broken-unit",
        name,
        `has the line ${JSON.stringify(line)}, which is neither a section nor a key with a value`,
      );
    } else if (inside) values.set(key, value);
  }
  return values;
}

function decode(bytes: Buffer, name: ByteString): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new BoundImageError("broken-unit", name, "is not UTF-8");
  }
}
