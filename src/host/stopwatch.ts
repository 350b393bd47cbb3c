/** Wall time of an operation's phases; a phase that comes twice is added up. Milliseconds. */
export interface Stopwatch<Phase extends string> {
  time<T>(phase: Phase, work: () => T | Promise<T>): Promise<T>;
  result(): Record<Phase | "total", number>;
}

export function stopwatch<Phase extends string>(...phases: Phase[]): Stopwatch<Phase> {
  const start = performance.now();
  const spent = new Map<Phase, number>(phases.map((phase) => [phase, 0]));
  return {
    async time(phase, work) {
      const begin = performance.now();
      try {
        return await work();
      } finally {
        spent.set(phase, (spent.get(phase) ?? 0) + performance.now() - begin);
      }
    },
    result() {
      const rounded = [...spent, ["total", performance.now() - start] as const].map(([phase, ms]) => [
        phase,
        Math.round(ms),
      ]);
      return Object.fromEntries(rounded) as Record<Phase | "total", number>;
    },
  };
}
