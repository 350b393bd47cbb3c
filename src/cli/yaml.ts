type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/**
 * What a reader of YAML 1.1 or 1.2 takes for the same string without quotes: starts with a letter, "/" or "_"
 * (so it is no number, date or indicator) and has no ": ", " #" or anything outside a small alphabet.
 */
const plain = /^[A-Za-z/_](?:(?:[A-Za-z0-9 _./@+-]|:(?! ))*[A-Za-z0-9_./@+-])?$/;
/** What YAML 1.1 takes for a boolean or null, and some of its readers for a number. */
const reserved = /^(?:true|false|yes|no|on|off|y|n|null|e[+-]?[0-9_]+)$/i;
/** Characters that JSON leaves as they are and YAML does not allow, or takes for line breaks. */
const unsafe = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

/** `value` as a YAML document. What JSON would leave out or change (undefined, dates), this does too. */
export function renderYaml(value: unknown): string {
  const json = JSON.parse(JSON.stringify(value) ?? "null") as JsonValue;
  return `${block(json, 0)}\n`;
}

/** The lines of a value whose first line continues the current one, all others indented. */
function block(value: JsonValue, indent: number): string {
  const next = `\n${" ".repeat(indent)}`;
  if (Array.isArray(value) && value.length > 0) {
    return value.map((item: JsonValue) => `- ${block(item, indent + 2)}`).join(next);
  }
  if (isMap(value) && Object.keys(value).length > 0) {
    return Object.entries(value)
      .map(([key, item]) => `${text(key)}:${below(item, indent)}`)
      .join(next);
  }
  return typeof value === "string" ? text(value) : JSON.stringify(value);
}

/** The value of a key: on the key's line where it is a scalar or empty, else on lines of its own. */
function below(value: JsonValue, indent: number): string {
  const nested = (Array.isArray(value) && value.length > 0) || (isMap(value) && Object.keys(value).length > 0);
  if (!nested) return ` ${block(value, indent)}`;
  return `\n${" ".repeat(indent + 2)}${block(value, indent + 2)}`;
}

function text(value: string): string {
  if (plain.test(value) && !reserved.test(value)) return value;
  return JSON.stringify(value).replace(unsafe, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function isMap(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
