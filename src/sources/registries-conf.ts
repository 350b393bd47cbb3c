import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "smol-toml";
import * as v from "valibot";
import { messageOf, OneholdError } from "#base/errors.ts";
import { parseRegistryName } from "#image/reference.ts";
import { isErrno } from "#linux/system-error.ts";

const endpointSchema = v.looseObject({ location: v.optional(v.string()), insecure: v.optional(v.boolean()) });
const registrySchema = v.looseObject({
  ...endpointSchema.entries,
  prefix: v.optional(v.string()),
  mirror: v.optional(v.array(endpointSchema)),
});
const locationsSchema = v.looseObject({ registries: v.optional(v.array(v.string()), []) });
const fileSchema = v.looseObject({
  registry: v.optional(v.array(registrySchema), []),
  /** The old form, version 1, which podman still reads. */
  registries: v.optional(v.looseObject({ insecure: v.optional(locationsSchema), block: v.optional(locationsSchema) })),
});

type Registry = v.InferOutput<typeof registrySchema>;

/**
 * A drop-in for registries.conf that says for one registry, and its mirrors, whether TLS is verified, and leaves
 * everything else as the host has it. podman reads drop-ins of $HOME after those of /etc, and a table there
 * replaces an earlier one of the same prefix as a whole (containers-registries.conf.d(5)): so this one is a copy of
 * the table in force. Throws "pull-failed" where the host's files can't be read.
 */
export function tlsVerifyDropIn(name: string, tlsVerify: boolean, root = "/"): string {
  const { host, repository } = parseRegistryName(name);
  const inForce = findRegistry(readRegistries(root), repository) ?? { location: host };
  const insecure = !tlsVerify;
  const { mirror, ...registry } = inForce;
  const mirrors = mirror?.map((endpoint) => ({ ...endpoint, insecure }));
  return stringify({ registry: [{ ...registry, insecure, ...(mirrors === undefined ? {} : { mirror: mirrors }) }] });
}

/** By prefix; a later file replaces what an earlier one says of a prefix, and in a file the first table counts. */
function readRegistries(root: string): ReadonlyMap<string, Registry> {
  const merged = new Map<string, Registry>();
  for (const path of configurationFiles(root)) {
    const ofFile = new Map<string, Registry>();
    for (const registry of readRegistriesOf(path)) {
      const prefix = prefixOf(registry);
      if (!ofFile.has(prefix)) ofFile.set(prefix, registry);
    }
    for (const [prefix, registry] of ofFile) merged.set(prefix, registry);
  }
  return merged;
}

function configurationFiles(root: string): string[] {
  const folder = join(root, "etc/containers/registries.conf.d");
  const dropIns = orIfMissing(folder, () => readdirSync(folder, "utf8"), []).filter((name) => name.endsWith(".conf"));
  return [join(root, "etc/containers/registries.conf"), ...dropIns.toSorted().map((name) => join(folder, name))];
}

function readRegistriesOf(path: string): Registry[] {
  const text = orIfMissing(path, () => readFileSync(path, "utf8"), "");
  try {
    const { registry, registries } = v.parse(fileSchema, parse(text));
    const insecure = new Set(registries?.insecure?.registries);
    const blocked = new Set(registries?.block?.registries);
    const old = [...insecure.union(blocked)].map((location) => ({
      location,
      insecure: insecure.has(location),
      blocked: blocked.has(location),
    }));
    return [...registry, ...old];
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** The table with the longest prefix that the repository has. */
function findRegistry(registries: ReadonlyMap<string, Registry>, repository: string): Registry | undefined {
  const matching = [...registries].filter(([prefix]) => matches(repository, prefix));
  return matching.toSorted(([a], [b]) => b.length - a.length)[0]?.[1];
}

function matches(repository: string, prefix: string): boolean {
  if (prefix === "") return false;
  if (prefix.startsWith("*."))
    return repository
      .slice(0, repository.indexOf("/"))
      .replace(/:[0-9]+$/, "")
      .endsWith(prefix.slice(1));
  return repository === prefix || (repository.startsWith(prefix) && /[:/@]/.test(repository.charAt(prefix.length)));
}

function prefixOf({ prefix, location }: Registry): string {
  return (prefix === undefined || prefix === "" ? (location ?? "") : prefix).replace(/\/+$/, "");
}

function orIfMissing<T>(path: string, read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return otherwise;
    throw unreadable(path, error);
  }
}

function unreadable(path: string, cause: unknown): OneholdError {
  return new OneholdError("pull-failed", `${path} can't be used: ${messageOf(cause)}`, {
    subject: path,
    cause,
    hint: "Repair the file: its form is described in containers-registries.conf(5).",
  });
}
