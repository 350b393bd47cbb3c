// oxlint-disable-next-line no-control-regex -- the point is to find them
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/**
 * Text from registries, images and other programs, safe for a terminal: escape sequences and marks that
 * turn the writing direction are shown instead of obeyed. Newlines and tabs stay.
 */
export function printable(text: string): string {
  return text.replace(controls, escaped);
}

/** The same for a place that has but one line. */
export function printableLine(text: string): string {
  return printable(text.replace(/[\n\t]+/g, " "));
}

/** At most `width` characters; what was cut shows as "…". */
export function cut(text: string, width: number): string {
  if (text.length <= width) return text;
  return width <= 1 ? text.slice(0, Math.max(0, width)) : `${text.slice(0, width - 1)}…`;
}
