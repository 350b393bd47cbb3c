import type { OutputFormat } from "./options.ts";
import { printable } from "./printable.ts";
import { renderYaml } from "./yaml.ts";

/**
 * A result as the user asked for it, ending in a newline unless it is empty. JSON and YAML hold the same
 * data; people get what `renderHuman` makes of it.
 */
export function renderOutput<T>(value: T, format: OutputFormat, renderHuman: (value: T) => string): string {
  if (format === "json") return `${JSON.stringify(value, undefined, 2)}\n`;
  if (format === "yaml") return renderYaml(value);
  const text = printable(renderHuman(value));
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}
