import { run } from "#linux/child.ts";
import type { Repository } from "./repository.ts";

export interface Pruned {
  readonly objects: number;
  /** As libostree counts them: sizes of files, also of those whose blocks another store still shares. */
  readonly bytes: number;
}

/**
 * Deletes every object that no ref reaches, with the `ostree` program (which takes the repository's lock, so
 * it must not be held). Parents of commits go too, as with `ostree admin cleanup`.
 */
export async function pruneRepository(repository: Repository, options: { signal?: AbortSignal } = {}): Promise<Pruned> {
  const { stdout } = await run("ostree", [`--repo=${repository.path}`, "prune", "--refs-only", "--depth=0"], {
    ...options,
    // In plain C the space before the unit, which is not ASCII, becomes a question mark.
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  const text = stdout.toString("utf8");
  const objects = /^Deleted (\d+) objects?/m.exec(text)?.[1] ?? "0";
  const size = /([\d.]+)[\s\u00a0](bytes?|kB|MB|GB|TB) freed/.exec(text);
  return {
    objects: Number(objects),
    bytes: size === null ? 0 : Math.round(Number(size[1]) * (units[size[2] ?? ""] ?? 1)),
  };
}

const units: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
