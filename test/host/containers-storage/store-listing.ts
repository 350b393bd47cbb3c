import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** podman's own database and what differs from run to run without meaning. */
const ignored = new Set([
  "libpod",
  "tmp",
  "db.sql",
  "db.sql-wal",
  "db.sql-shm",
  "mounts",
  "volumes",
  "secrets",
  "networks",
  "tempdirs",
  "staging",
]);

/**
 * What is in a graph root: each path with its type, mode, owner and content; record files with their parsed
 * JSON. Lock files by name only: their content is new with each change. Not names-history: podman 5.8 sorts
 * it anew with each change of a name.
 */
export function listStore(root: string): Record<string, unknown> {
  const listing: Record<string, unknown> = {};
  const visit = (folder: string): void => {
    for (const name of readdirSync(join(root, folder)).toSorted()) {
      const path = join(folder, name);
      if (ignored.has(name) && folder.split("/").length <= 2) continue;
      listing[path] = describeFile(join(root, path));
      if (lstatSync(join(root, path)).isDirectory()) visit(path);
    }
  };
  visit("");
  return listing;
}

function describeFile(path: string): unknown {
  const { mode, uid, gid, rdev } = lstatSync(path);
  const kind = `${mode.toString(8)} ${uid}:${gid} ${rdev}`;
  if ((mode & 0o170000) === 0o120000) return `${kind} -> ${readlinkSync(path)}`;
  if ((mode & 0o170000) !== 0o100000 || path.endsWith(".lock")) return kind;
  if (path.endsWith(".json"))
    return [
      kind,
      JSON.parse(readFileSync(path, "utf8"), (key, value: unknown) => (key === "names-history" ? undefined : value)),
    ];
  return `${kind} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
}
