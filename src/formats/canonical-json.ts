/**
 * JSON with one form for one value: keys sorted, no spaces. ostree-ext keeps an image's manifest and config so
 * in its commits. Takes the document as bytes; throws a SyntaxError where it is not JSON.
 */
export function canonicalJson(document: Buffer): string {
  return JSON.stringify(sorted(JSON.parse(document.toString("utf8"))));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, child]) => [key, sorted(child)]));
}
