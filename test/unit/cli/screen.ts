/** A terminal as far as the bars use one: what a user sees after all that was written to it. */
export function fakeScreen(columns: number, rows: number) {
  const lines: string[] = [""];
  let row = 0;
  let column = 0;
  let cursorShown = true;
  let writes = 0;

  const put = (text: string): void => {
    const line = (lines[row] ?? "").padEnd(column);
    lines[row] = line.slice(0, column) + text + line.slice(column + text.length);
    column += text.length;
    if (column > columns) throw new Error(`line ${row} is wider than the screen: ${lines[row]}`);
  };

  const control: Record<string, (count: number) => void> = {
    A: (count) => {
      // A terminal can't go above its first row.
      row = Math.max(row - count, lines.length - rows, 0);
    },
    K: () => {
      lines[row] = (lines[row] ?? "").slice(0, column);
    },
    J: () => {
      lines[row] = (lines[row] ?? "").slice(0, column);
      lines.length = row + 1;
    },
    h: () => {
      cursorShown = true;
    },
    l: () => {
      cursorShown = false;
    },
  };

  const write = (text: string): void => {
    writes += 1;
    // oxlint-disable-next-line no-control-regex -- a terminal's language
    for (const [token, count, letter] of text.matchAll(/\x1b\[\??(\d*)([A-Za-z])|\r|\n|[^\x1b\r\n]+/g)) {
      if (token === "\r") column = 0;
      else if (token === "\n") {
        row += 1;
        column = 0;
        lines[row] ??= "";
      } else if (letter === undefined) put(token);
      else {
        const act = control[letter];
        if (act === undefined) throw new Error(`unknown control sequence ${JSON.stringify(token)}`);
        act(count === "" ? 1 : Number(count));
      }
    }
    if (!cursorShown) throw new Error("the cursor is left hidden");
  };

  return { write, size: () => ({ columns, rows }), text: () => lines.join("\n"), writes: () => writes };
}
