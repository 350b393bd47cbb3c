import fs from "node:fs";
import path from "node:path";
import { byteString, type ByteString, bytesOf, byteStringOfText, joinBytes } from "#base/bytes.ts";
import { messageOf } from "#base/errors.ts";
import type { FileContexts } from "#formats/file-contexts.ts";
import type { FileType } from "#formats/file-contexts-lines.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { getXattr, setXattr } from "#linux/xattr.ts";
import type { HostContext } from "../operation.ts";

/** Labels of the image store are those that a policy has for podman's own: bootc's containers find nothing else there. */
const standsFor = byteStringOfText("/var/lib/containers/storage");
const label = byteStringOfText("security.selinux");

/**
 * Gives the image store the SELinux labels that the host's policy wants there, where they differ, and bootc's sign that
 * they are. A file that ostree has by a hardlink keeps what ostree gave it.
 */
export function labelImageStore({ sysroot, report }: HostContext, contexts: FileContexts): void {
  const root = byteStringOfText(sysroot.imageStore);
  try {
    const linked = new Map<string, Place[]>();
    const layers: Place[] = [];
    for (const place of placesBelow(root, contexts)) {
      if (isLayer(place)) layers.push(place);
      else if (place.links === 1 || place.type === "d") applyLabel(place, contexts);
      else linked.set(place.inode, [...(linked.get(place.inode) ?? []), place]);
    }
    for (const places of linked.values()) {
      const [first] = places;
      if (first !== undefined && places.length === first.links) applyLabel(first, contexts);
    }
    // Last, so that a layer with its label is one whose files have theirs.
    for (const layer of layers) applyLabel(layer, contexts);
    const stamp = path.join(sysroot.imageStore, ".bootc_labeled");
    if (!fs.existsSync(stamp)) writeFileDurably(stamp, "");
  } catch (error) {
    // A kernel that enforces another policy does not know the labels.
    if (!isErrno(error, "EINVAL", "EPERM", "EOPNOTSUPP")) throw error;
    const text = `the image store has no SELinux labels (${messageOf(error)}): relabel it when the host runs`;
    report({ kind: "notice", level: "warning", text });
  }
}

interface Place {
  readonly path: ByteString;
  /** As the policy knows it. */
  readonly as: ByteString;
  readonly type: FileType;
  readonly links: number;
  readonly inode: string;
}

function* placesBelow(root: ByteString, contexts: FileContexts): Generator<Place> {
  const visit = function* (file: ByteString, as: ByteString): Generator<Place> {
    const stat = withSystemErrors(() => fs.lstatSync(bytesOf(file)));
    const type = typeOf(stat);
    const place = { path: file, as, type, links: stat.nlink, inode: `${stat.dev}:${stat.ino}` };
    yield place;
    if (type !== "d" || (isLayer(place) && hasLabel(place, contexts))) return;
    for (const entry of withSystemErrors(() => fs.readdirSync(bytesOf(file), { encoding: "buffer" }))) {
      const name = byteString(entry);
      yield* visit(joinBytes(file, name), contexts.childPath(as, name));
    }
  };
  yield* visit(root, standsFor);
}

/** `overlay/ID` */
function isLayer({ as, type }: Place): boolean {
  return type === "d" && layerPath.test(as.slice(standsFor.length));
}

const layerPath = /^\/overlay\/[0-9a-f]{64}$/;

function hasLabel(place: Place, contexts: FileContexts): boolean {
  const wanted = wantedOf(place, contexts);
  return wanted !== undefined && isLabelled(place, wanted);
}

function applyLabel(place: Place, contexts: FileContexts): void {
  const wanted = wantedOf(place, contexts);
  if (wanted !== undefined && !isLabelled(place, wanted)) setXattr({ path: bytesOf(place.path) }, label, wanted);
}

function isLabelled({ path: file }: Place, wanted: Buffer): boolean {
  return getXattr({ path: bytesOf(file) }, label)?.equals(wanted) === true;
}

/** undefined: the policy leaves it as it is. */
function wantedOf({ as, type }: Place, contexts: FileContexts): Buffer | undefined {
  const found = contexts.labelOf(as, type);
  return found === undefined ? undefined : bytesOf(`${found}\0` as ByteString);
}

function typeOf(stat: fs.Stats): FileType {
  if (stat.isDirectory()) return "d";
  if (stat.isSymbolicLink()) return "l";
  if (stat.isFIFO()) return "p";
  if (stat.isCharacterDevice()) return "c";
  if (stat.isBlockDevice()) return "b";
  return stat.isSocket() ? "s" : "-";
}
