/**
 * Completes package-lock.json after `npm install`. npm leaves optional packages out that the registry does not
 * have, and then refuses the file in `npm ci` because they are missing. They are packages for other platforms,
 * of which nothing but the name and the version is needed: npm skips them here.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

const Package = v.looseObject({
  dev: v.optional(v.boolean()),
  optionalDependencies: v.optional(v.record(v.string(), v.string())),
});
const Lock = v.looseObject({ packages: v.record(v.string(), Package) });

type Package = v.InferOutput<typeof Package>;

/** The entries that are missing in a lock file, by their key in `packages`. */
export function missingEntries(lock: v.InferOutput<typeof Lock>): Map<string, Package> {
  const missing = new Map<string, Package>();
  for (const { dev, optionalDependencies = {} } of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      const key = `node_modules/${name}`;
      if (!(key in lock.packages)) missing.set(key, entryFor(name, version, dev ?? false));
    }
  }
  return missing;
}

/** Keeps the order of the file's keys. */
export function parseLock(text: string): v.InferOutput<typeof Lock> {
  const lock: unknown = JSON.parse(text);
  v.assert(Lock, lock);
  return lock;
}

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];

/** The names of such packages tell their platform: `@biomejs/cli-linux-x64-musl`. */
function entryFor(name: string, version: string, dev: boolean): Package {
  const words = name.split(/[-/]/);
  const system = words.findIndex((word) => systems.includes(word));
  const [os, cpu] = words.slice(system);
  if (system === -1 || os === undefined || cpu === undefined) throw new Error(`${name} does not tell its platform`);
  return {
    version,
    cpu: [cpu],
    ...(dev ? { dev } : {}),
    ...(words.at(-1) === "musl" ? { libc: ["musl"] } : {}),
    optional: true,
    os: [os],
  };
}

if (import.meta.main) {
  const path = join(import.meta.dirname, "../package-lock.json");
  const lock = parseLock(readFileSync(path, "utf8"));
  const entries = Object.entries(lock.packages).concat([...missingEntries(lock)]);
  lock.packages = Object.fromEntries(entries.toSorted(([a], [b]) => a.localeCompare(b, "en")));
  writeFileSync(path, `${JSON.stringify(lock, undefined, 2)}\n`);
}
