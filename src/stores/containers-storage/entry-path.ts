import type { ByteString } from "#base/bytes.ts";
import { displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

/**
 * Where podman puts a tar member below diff/: its name without leading slashes, `.` and `..`, as Go's
 * filepath.Clean does it. The root itself is "".
 * @throws corrupt for a name that leaves the layer, or that no file can have
 */
export function entryPath(name: ByteString): ByteString {
  if (!unclean.test(name)) return name;
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined && !name.startsWith("/")) throw refused(name, "it leaves the layer");
  }
  if (name.includes("\0")) throw refused(name, "it has a NUL byte");
  return parts.join("/") as ByteString;
}

/** An empty part, a dot or two, a NUL byte: most names have none. */
const unclean = /(?:^|\/)\.{0,2}(?:\/|$)|\0/;

/** The last part of an entry path. */
export function baseName(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1) as ByteString;
}

/** All but the last part; "" at the top. */
export function parentPath(path: ByteString): ByteString {
  return path.slice(0, Math.max(0, path.lastIndexOf("/"))) as ByteString;
}

function refused(name: ByteString, why: string): OneholdError {
  return new OneholdError("corrupt", `a layer has a member named ${displayBytes(name)}, which is refused: ${why}`, {
    subject: displayBytes(name),
  });
}
