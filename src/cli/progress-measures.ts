import type { BytesProgress, ProgressEvent, ProgressPart } from "#base/progress.ts";

type Task = Exclude<ProgressEvent, { kind: "notice" }>;
type Amounts = Pick<ProgressPart, "bytes" | "bytesCached" | "bytesTotal">;

/** Two events with the same key are about the same task. */
export function taskKey(task: Task): string {
  return JSON.stringify([task.kind, task.task, task.id]);
}

/** Bytes that are in place: cached ones count from the start. */
export function bytesInPlace(amounts: Amounts): number {
  return Math.max(amounts.bytes, amounts.bytesCached);
}

/** Of a part or task whose length is known: all of it is there. */
export function isComplete(amounts: Amounts): boolean {
  return amounts.bytesTotal > 0 && bytesInPlace(amounts) >= amounts.bytesTotal;
}

/** Complete, and nothing of it had to be fetched. */
export function isCached(amounts: Amounts): boolean {
  return isComplete(amounts) && amounts.bytesCached >= amounts.bytesTotal;
}

/** Tells the parts of a task apart: ids alone need not. */
export function partKey(part: { readonly part: string; readonly id: string }): string {
  return `${part.part} ${part.id}`;
}

/** The keys of a task's parts that are done, whatever it counts in. */
export function completedParts(task: Task): ReadonlySet<string> {
  const done = task.kind === "bytes" ? task.parts.filter(isComplete) : task.parts.filter((part) => part.completed);
  return new Set(done.map(partKey));
}

export function isTaskComplete(task: Task): boolean {
  return task.kind === "bytes" ? isComplete(task) : task.stepsTotal > 0 && task.steps >= task.stepsTotal;
}

/** As much of a part's id as tells it apart: 12 hex digits of a digest, as podman prints. */
export function shortId(id: string): string {
  const hex = /^(?:sha(?:256|512):)?([0-9a-f]{12})[0-9a-f]*$/.exec(id);
  return hex?.[1] ?? id;
}

export interface Speed {
  /** Bytes fetched in a second, over the last few seconds; undefined until there is enough to tell. */
  readonly rate: number | undefined;
  /** Seconds to the end at that rate; undefined where the total or the rate is not known or is zero. */
  readonly remaining: number | undefined;
  /** Milliseconds since the task began. */
  readonly elapsed: number;
}

const windowMs = 8000;
const minimumMs = 1500;
/** Reports may come in steps of a second or two; a longer pause slows the task down. */
const pauseMs = 3000;

/** Measures how fast one task goes, from the changes that it is shown. Cached bytes are not speed. */
export function speedometer(startedAt: number): (task: BytesProgress, now: number) => Speed {
  const changes: { at: number; fetched: number }[] = [];
  return (task, now) => {
    const fetched = Math.max(0, bytesInPlace(task) - task.bytesCached);
    if (changes.at(-1)?.fetched !== fetched) changes.push({ at: now, fetched });
    while (changes.length > 2 && now - (changes[1]?.at ?? now) >= windowMs) changes.shift();
    const first = changes[0] ?? { at: now, fetched };
    const idle = now - (changes.at(-1)?.at ?? now);
    const span = now - first.at - (idle < pauseMs ? idle : 0);
    const rate =
      idle >= windowMs ? 0 : span < minimumMs ? undefined : Math.max(0, ((fetched - first.fetched) * 1000) / span);
    const left = Math.max(0, task.bytesTotal - bytesInPlace(task));
    const remaining = rate !== undefined && rate > 0 && task.bytesTotal > 0 ? left / rate : undefined;
    return { rate, remaining, elapsed: now - startedAt };
  };
}
