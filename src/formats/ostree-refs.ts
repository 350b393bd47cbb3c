import { OneholdError } from "#base/errors.ts";

/**
 * Turns any text (a digest, an image reference) into a part of an ostree ref, as ostree-ext does: ASCII
 * letters, digits and `-` stay, `_` is doubled, a `/` stays between a letter or digit and something more;
 * everything else becomes `_` + upper-case hex code point + `_`.
 */
export function escapeRef(text: string): string {
  if (text === "" || text.includes("\0") || !text.isWellFormed()) {
    throw new OneholdError("usage", `${JSON.stringify(text)} can't be the name of an ostree ref`);
  }
  return text.replace(/(?<![a-zA-Z0-9])\/|\/$|[^a-zA-Z0-9/-]/gu, (character) =>
    character === "_" ? "__" : `_${codePoint(character).toString(16).toUpperCase().padStart(2, "0")}_`,
  );
}

/** The text that `escapeRef` was given. @throws OneholdError "corrupt" where the ref is not escaped text */
export function unescapeRef(ref: string): string {
  if (!/^(?:[a-zA-Z0-9/-]|__|_[0-9A-Fa-f]{1,6}_)+$/.test(ref)) throw notEscaped(ref);
  return ref.replace(/_([0-9A-Fa-f]*)_/g, (_, hex: string) => {
    if (hex === "") return "_";
    const value = Number.parseInt(hex, 16);
    if (value === 0 || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) throw notEscaped(ref);
    return String.fromCodePoint(value);
  });
}

/**
 * Whether libostree accepts it as the name of a ref (without `remote:`): segments of letters, digits, `_`, `-`
 * and `.`, not led by the last two. That it also lets a newline end the name is a slip that we don't share.
 */
export function isValidRefName(name: string): boolean {
  return refName.test(name);
}

const refName = /^[\p{L}\p{N}_][-.\p{L}\p{N}_]*(?:\/[\p{L}\p{N}_][-.\p{L}\p{N}_]*)*$/u;

function codePoint(character: string): number {
  return character.codePointAt(0) ?? 0;
}

function notEscaped(ref: string): OneholdError {
  return new OneholdError("corrupt", `the ostree ref ${JSON.stringify(ref)} is not the escaped form of a name`);
}
