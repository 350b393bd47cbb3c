import { printableLine } from "./printable.ts";

/** A column of a table for people. Titles are upper case, as podman has them. */
export interface Column<Row> {
  readonly title: string;
  readonly align?: "left" | "right";
  readonly cell: (row: Row) => string;
}

/**
 * A table with one line for each row, columns two spaces apart, ending in a newline. Lines are not cut to the
 * terminal's width: what a user selects or greps must be whole.
 */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => printableLine(column.cell(row)))),
  ];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => (line[index] ?? "").length)));
  const pad = (cell: string, index: number): string => {
    const width = widths[index] ?? 0;
    return columns[index]?.align === "right" ? cell.padStart(width) : cell.padEnd(width);
  };
  return lines.map((line) => `${line.map(pad).join("  ").trimEnd()}\n`).join("");
}
