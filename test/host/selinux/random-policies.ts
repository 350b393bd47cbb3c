import * as fc from "fast-check";
import type { FileType } from "#formats/file-contexts-lines.ts";
import { parsePattern, type Pattern } from "#formats/file-contexts-pattern.ts";
import type { ByteString } from "#base/bytes.ts";
import type { Question } from "./libselinux.ts";

const letters = ["a", "b", "c"];
const types: readonly FileType[] = ["-", "d", "l", "p", "c", "b", "s"];

/** Names, patterns of names, and what joins them: few letters, so that rules and paths meet. */
const piece = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...letters, "ab", "bc") },
  { weight: 2, arbitrary: fc.constantFrom(".*", "[^/]*", ".", "[ab]", "[^a]", "[a-c]+", "[]b]", "[b-]") },
  { weight: 2, arbitrary: fc.constantFrom("(/.*)?", "(a|b)", "(?:b|c)*", "a?", "b+", "c{2}", "b{1,2}", "(ab)*?") },
  {
    weight: 1,
    arbitrary: fc.constantFrom("\\.", "\\+", "\\w+", "\\d*", "[\\w.]", "]", "}", "-", "(a|(b|c)*)+", "(|a)"),
  },
);
const regex = fc
  .array(fc.array(piece, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 })
  .map((names) => names.map((name) => `/${name.join("")}`).join(""));
const expression = fc.oneof(
  { weight: 12, arbitrary: regex },
  { weight: 1, arbitrary: fc.tuple(regex, regex).map(([a, b]) => `${a}|${b}`) },
  { weight: 1, arbitrary: fc.tuple(regex, regex, regex).map((three) => three.join("|")) },
  { weight: 1, arbitrary: fc.constantFrom("/.*", "/", "/a", ".*b", "^/b.*", "/a/?", "/b(/)?") },
);
const path = fc
  .array(fc.constantFrom("a", "b", "c", "ab", "bc", "a.", "b+", "abc", "-", "cc"), { minLength: 1, maxLength: 4 })
  .map((names) => `/${names.join("/")}`);

/** Names are those of the files. */
export interface RandomPolicy {
  readonly file_contexts: string;
  readonly "file_contexts.local"?: string;
  readonly "file_contexts.homedirs"?: string;
  readonly "file_contexts.subs"?: string;
  readonly "file_contexts.subs_dist"?: string;
}

function rules(name: string): fc.Arbitrary<string> {
  const type = fc.option(fc.constantFrom(...types), { nil: undefined, freq: 3 });
  const line = fc.tuple(expression, type, fc.nat(9)).map(([rule, of, n]) => {
    return `${rule}\t${of === undefined ? "" : `-${of}\t`}${n === 0 ? "<<none>>" : `${name}${n}_t`}`;
  });
  return fc.array(line, { minLength: 1, maxLength: 15 }).map((lines) => `# rules\n\n${lines.join("\n")}\n`);
}

const substitutions = fc
  .array(fc.tuple(path, fc.oneof(path, fc.constant("/"))), { maxLength: 4 })
  .map((pairs) => pairs.map((pair) => `${pair.join(" ")}\n`).join(""));

export const randomPolicy: fc.Arbitrary<RandomPolicy> = fc.record(
  {
    file_contexts: rules("base"),
    "file_contexts.local": rules("local"),
    "file_contexts.homedirs": rules("home"),
    "file_contexts.subs": substitutions,
    "file_contexts.subs_dist": substitutions,
  },
  { requiredKeys: ["file_contexts"] },
);

const type = fc.constantFrom(...types);

/** Some that rules are for, some beside them. */
export function randomQuestions(patterns: readonly string[], alphabet: string): fc.Arbitrary<Question> {
  const byte = fc.constantFrom(...alphabet.split(""));
  const matching = fc
    .tuple(fc.constantFrom(...patterns), fc.infiniteStream(fc.nat(1000)))
    .map(([pattern, stream]) => textOf(parsePattern(pattern as ByteString), stream, alphabet));
  const beside = fc
    .tuple(matching, fc.nat(200), byte, fc.constantFrom(0, 1))
    .map(
      ([text, at, letter, taken]) =>
        text.slice(0, at % (text.length + 1)) + letter + text.slice((at % (text.length + 1)) + taken),
    );
  const text = fc.oneof(path, matching, matching, beside).map((found) => tidy(found));
  return fc.record({ path: text, type });
}

/** As a path of a tree is: no slash at the end, none after another. */
function tidy(text: string): string {
  const single = `/${text}`.replaceAll(/\/+/g, "/");
  return single === "/" ? single : single.replace(/\/$/, "");
}

function textOf(pattern: Pattern, random: Iterator<number>, alphabet: string): string {
  const next = (bound: number) => Number(random.next().value) % bound;
  switch (pattern.kind) {
    case "byte":
      return String.fromCharCode(pattern.value);
    case "set": {
      const usual = alphabet.split("").filter((letter) => pattern.members[letter.charCodeAt(0)] === 1);
      return usual[next(usual.length || 1)] ?? String.fromCharCode(pattern.members.indexOf(1));
    }
    case "sequence":
      return pattern.parts.map((part) => textOf(part, random, alphabet)).join("");
    case "choice":
      return textOf(pattern.options[next(pattern.options.length)] ?? pattern, random, alphabet);
    case "repeat": {
      const count = pattern.min + next(Math.min(pattern.max - pattern.min, 4) + 1);
      return Array.from({ length: count }, () => textOf(pattern.part, random, alphabet)).join("");
    }
  }
}
