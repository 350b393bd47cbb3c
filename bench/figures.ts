/** A measured figure, with the bound that it must keep, where there is one. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: "×" | "s" | "ms" | "B" | "MB";
  readonly most?: number;
  readonly least?: number;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

export function keepsBound({ value, most = Infinity, least = -Infinity }: Figure): boolean {
  return value <= most && value >= least;
}

export function renderFigure(figure: Figure): string {
  const { what, value, unit, most, least } = figure;
  const bound = most === undefined ? (least === undefined ? "" : `at least ${least}`) : `at most ${most}`;
  const verdict = bound === "" ? "" : `  (${bound}: ${keepsBound(figure) ? "kept" : "MISSED"})`;
  return `${value.toFixed(unit === "B" || unit === "ms" ? 0 : 2).padStart(10)} ${unit.padEnd(2)}  ${what}${verdict}`;
}
