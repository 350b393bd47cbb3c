import { type ByteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

/** A regular expression of a file_contexts rule, over bytes. */
export type Pattern =
  | { readonly kind: "byte"; readonly value: number }
  /** By byte value: 1 where it belongs to the set. */
  | { readonly kind: "set"; readonly members: Uint8Array }
  | { readonly kind: "sequence"; readonly parts: readonly Pattern[] }
  | { readonly kind: "choice"; readonly options: readonly Pattern[] }
  | { readonly kind: "repeat"; readonly part: Pattern; readonly min: number; readonly max: number };

/** Deeper nesting than people write; a bound for our recursion. */
const maxDepth = 50;
/** As in PCRE2. */
const maxCount = 65_535;

/**
 * Reads the part of the syntax that PCRE2 (libselinux, flags: DOTALL) and Rust's regex crate (composefs-rs, bytes)
 * understand alike, which is what policies are written in: bytes, `.`, sets, groups, alternatives, repetition. Whether
 * a repetition is greedy makes no difference, as only whole matches count.
 * @throws OneholdError "corrupt" where no such program takes it; "unsupported" where they differ, or we can't tell
 */
export function parsePattern(source: ByteString): Pattern {
  return new PatternReader(source).read();
}

/** Whether a program of libselinux sees no pattern in it, but a path (backslashes before punctuation aside). */
export function isLiteral(source: string): boolean {
  return /^(?:[^.^$?*+|[({\\]|\\[^0-9A-Za-z])*$/s.test(source);
}

/** The alternatives at the top of a pattern, outside of all groups. */
export function alternatives(pattern: Pattern): readonly Pattern[] {
  return pattern.kind === "choice" ? pattern.options : [pattern];
}

class PatternReader {
  readonly #source: ByteString;
  #at = 0;

  constructor(source: ByteString) {
    this.#source = source;
  }

  read(): Pattern {
    if (this.#source.startsWith("^")) this.#at = 1;
    const pattern = this.#choice(0);
    if (this.#at < this.#source.length) throw this.#invalid("has a ) too many");
    return pattern;
  }

  #choice(depth: number): Pattern {
    if (depth > maxDepth) throw this.#unknown(`is nested more than ${maxDepth} deep`);
    const options = [this.#sequence(depth)];
    while (this.#source[this.#at] === "|") {
      this.#at++;
      options.push(this.#sequence(depth));
    }
    const [only] = options;
    return options.length === 1 && only !== undefined ? only : { kind: "choice", options };
  }

  #sequence(depth: number): Pattern {
    const parts: Pattern[] = [];
    for (let c = this.#source[this.#at]; c !== undefined && c !== "|" && c !== ")"; c = this.#source[this.#at]) {
      parts.push(this.#repeated(this.#atom(c, depth)));
    }
    return { kind: "sequence", parts };
  }

  #atom(c: string, depth: number): Pattern {
    this.#at++;
    switch (c) {
      case "(":
        return this.#group(depth);
      case "[":
        return { kind: "set", members: this.#set() };
      case ".":
        return anyByte;
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw this.#invalid(`repeats nothing with ${c}`);
      case "^":
      case "$":
      case "{":
        throw this.#unknown(`has a ${c} that is neither escaped nor in its place`);
      default:
        return { kind: "byte", value: c.charCodeAt(0) };
    }
  }

  #group(depth: number): Pattern {
    if (this.#source[this.#at] === "?") {
      if (this.#source[this.#at + 1] !== ":") throw this.#unknown("has a group with options");
      this.#at += 2;
    } else if (this.#source[this.#at] === "*") throw this.#unknown("has a (*");
    const inside = this.#choice(depth + 1);
    if (this.#source[this.#at] !== ")") throw this.#invalid("lacks a )");
    this.#at++;
    return inside;
  }

  #repeated(part: Pattern): Pattern {
    const counts = this.#counts();
    if (counts === undefined) return part;
    if (counts.max < counts.min || counts.max > maxCount) throw this.#invalid("has a repetition that can't be");
    const after = this.#source[this.#at];
    if (after === "?") this.#at++;
    else if (after === "+" || after === "*" || after === "{") throw this.#unknown("repeats a repetition");
    return { kind: "repeat", part, min: counts.min, max: counts.unbounded ? Infinity : counts.max };
  }

  #counts(): { min: number; max: number; unbounded: boolean } | undefined {
    if (!repeating.has(this.#source[this.#at])) return undefined;
    const [all, sign, min, comma, max] =
      /^(?:([*+?])|\{(\d{1,6})(?:(,)(\d{0,6}))?\})/.exec(this.#source.slice(this.#at, this.#at + 16)) ?? [];
    if (all === undefined) return undefined;
    this.#at += all.length;
    if (sign !== undefined) return { min: sign === "+" ? 1 : 0, max: 1, unbounded: sign !== "?" };
    const least = Number(min);
    const unbounded = comma !== undefined && max === "";
    return { min: least, max: unbounded || comma === undefined ? least : Number(max), unbounded };
  }

  #escape(): Pattern {
    const c = this.#source[this.#at++];
    if (c === undefined) throw this.#invalid("ends with a backslash");
    const named = namedSets.get(c);
    if (named !== undefined) return { kind: "set", members: named };
    if (/[0-9A-Za-z<>]/.test(c)) throw this.#unknown(`has a \\${c}`);
    return { kind: "byte", value: c.charCodeAt(0) };
  }

  #set(): Uint8Array {
    const members = new Uint8Array(256);
    const inverted = this.#source[this.#at] === "^";
    if (inverted) this.#at++;
    for (let first = true; ; first = false) {
      const c = this.#source[this.#at];
      if (c === undefined) throw this.#invalid("lacks a ]");
      if (c === "]" && !first) break;
      this.#setItem(members);
    }
    this.#at++;
    if (inverted) for (let byte = 0; byte < 256; byte++) members[byte] = members[byte] === 1 ? 0 : 1;
    return members;
  }

  #setItem(members: Uint8Array): void {
    const from = this.#setByte(members);
    const [dash, next] = this.#source.slice(this.#at, this.#at + 2);
    if (dash !== "-" || next === "]") {
      if (from !== undefined) members[from] = 1;
      return;
    }
    this.#at++;
    const to = this.#setByte(members);
    if (from === undefined || to === undefined) throw this.#unknown("has a range from or to a named set");
    if (to < from) throw this.#invalid("has a range that ends before it begins");
    members.fill(1, from, to + 1);
  }

  /** One byte of a set; nothing where it was a named set, which is added. */
  #setByte(members: Uint8Array): number | undefined {
    const c = this.#source[this.#at++];
    if (c === undefined) throw this.#invalid("lacks a ]");
    if (c === "\\") {
      const escaped = this.#escape();
      if (escaped.kind === "byte") return escaped.value;
      if (escaped.kind === "set") for (let byte = 0; byte < 256; byte++) members[byte] ||= escaped.members[byte] ?? 0;
      return undefined;
    }
    // Rust knows sets in sets, and && -- ~~ between them.
    if (c === "[" || ((c === "&" || c === "-" || c === "~") && this.#source[this.#at] === c)) {
      throw this.#unknown(`has a ${c} in a set`);
    }
    return c.charCodeAt(0);
  }

  #invalid(how: string): OneholdError {
    return new OneholdError("corrupt", `the regular expression ${displayBytes(this.#source)} ${how}`);
  }

  #unknown(how: string): OneholdError {
    return new OneholdError(
      "unsupported",
      `the regular expression ${displayBytes(this.#source)} ${how}: Onehold can't tell what it means to every program`,
      { hint: "Write the rule of the image's SELinux policy with plain characters, sets, groups and repetition." },
    );
  }
}

const repeating: ReadonlySet<string | undefined> = new Set(["*", "+", "?", "{"]);

export const anyByte: Pattern = { kind: "set", members: new Uint8Array(256).fill(1) };

/** `\d`, `\s`, `\w` and their opposites, of ASCII. */
const namedSets: ReadonlyMap<string, Uint8Array> = new Map(
  [/[0-9]/, /[\t-\r ]/, /[0-9A-Za-z_]/].flatMap((members, i) => {
    const set = Uint8Array.from({ length: 256 }, (_, byte) => (members.test(String.fromCharCode(byte)) ? 1 : 0));
    const inverted = set.map((member) => 1 - member);
    return [["d", "s", "w"][i] ?? "", ["D", "S", "W"][i] ?? ""].map((name, j) => [name, j === 0 ? set : inverted]);
  }),
);
