import assert from "node:assert/strict";
import { test } from "node:test";
import { type Column, renderTable } from "#cli/table.ts";

interface Row {
  readonly name: string;
  readonly size: string;
  readonly stores: string;
}

const columns: Column<Row>[] = [
  { title: "NAME", cell: (row) => row.name },
  { title: "SIZE", align: "right", cell: (row) => row.size },
  { title: "STORES", cell: (row) => row.stores },
];

test("columns are as wide as their widest cell, numbers to the right, no spaces at the end of a line", () => {
  const rows = [
    { name: "localhost:5000/os:1", size: "960.1 MB", stores: "images, ostree" },
    { name: "app", size: "9 B", stores: "" },
  ];
  assert.equal(
    renderTable(columns, rows),
    [
      "NAME                     SIZE  STORES",
      "localhost:5000/os:1  960.1 MB  images, ostree",
      "app                       9 B",
      "",
    ].join("\n"),
  );
});

test("without rows only the titles", () => assert.equal(renderTable(columns, []), "NAME  SIZE  STORES\n"));

test("a cell can't break its line or reach the terminal", () => {
  const table = renderTable(columns, [{ name: "a\nb\x1b[2J", size: "1", stores: "x" }]);
  assert.equal(table.split("\n")[1], "a b\\x1b[2J     1  x");
});
