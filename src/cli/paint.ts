import { styleText } from "node:util";

/** Colour for stderr: only where that is a terminal, and not with NO_COLOR. */
export function paint(colour: "red" | "yellow" | "cyan", text: string): string {
  return styleText(colour, text, { stream: process.stderr });
}
