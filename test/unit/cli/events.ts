import type { BytesProgress, ProgressPart, StepsProgress } from "#base/progress.ts";

/** A layer of a pull: `id` stands for its digest. */
export function layer(id: string, bytes: number, bytesTotal: number, bytesCached = 0): ProgressPart {
  return { part: "layer", id: `sha256:${id.padEnd(64, "0")}`, description: "layer", bytes, bytesCached, bytesTotal };
}

/** A pull of these layers, its sums as they should be. */
export function pulling(parts: readonly ProgressPart[], other: Partial<BytesProgress> = {}): BytesProgress {
  const sum = (key: "bytes" | "bytesCached" | "bytesTotal"): number =>
    parts.reduce((total, part) => total + part[key], 0);
  return {
    kind: "bytes",
    task: "pulling",
    id: "localhost:5000/os:1",
    description: "Pulling localhost:5000/os:1",
    bytes: sum("bytes"),
    bytesCached: sum("bytesCached"),
    bytesTotal: sum("bytesTotal"),
    steps: parts.filter((part) => part.bytes === part.bytesTotal).length,
    stepsCached: parts.filter((part) => part.bytesCached === part.bytesTotal).length,
    stepsTotal: parts.length,
    parts,
    estimated: false,
    ...other,
  };
}

/** A checklist of which the first `steps` are done. */
export function staging(steps: number, names: readonly string[] = ["merging", "deploying", "cleanup"]): StepsProgress {
  return {
    kind: "steps",
    task: "staging",
    id: "staging",
    description: "Deploying the image",
    steps,
    stepsCached: 0,
    stepsTotal: names.length,
    parts: names.map((name, index) => ({ part: name, id: name, description: name, completed: index < steps })),
  };
}
