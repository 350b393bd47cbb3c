import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { type IndexedRule, RuleIndex } from "./file-contexts-index.ts";
import {
  type ContextRule,
  type FileType,
  parseRules,
  parseSubstitutions,
  type Reader,
  type Substitution,
} from "./file-contexts-lines.ts";
import { alternatives, anyByte, isLiteral, parsePattern, type Pattern } from "./file-contexts-pattern.ts";

/** Which label an SELinux policy has for which path, as one of the programs that label reads it. */
export interface FileContexts {
  /** What `name` in a directory is looked up as, where the directory is looked up as `directory`; the root is `/`. */
  childPath(directory: ByteString, name: ByteString): ByteString;
  /**
   * The label, without NUL; none where the policy has none. @throws OneholdError "unsupported" where a rule that
   * may be meant can't be understood, or the rules take too long
   */
  labelOf(path: ByteString, type: FileType): ByteString | undefined;
}

/** The files that a policy has in `contexts/files`, by name. Only the first one must be there. */
export type ContextFiles = ReadonlyMap<ContextFileName, Buffer>;

export type ContextFileName = (typeof contextFileNames)[number];

export const contextFileNames = [
  "file_contexts",
  "file_contexts.local",
  "file_contexts.homedirs",
  "file_contexts.subs",
  "file_contexts.subs_dist",
] as const;

/**
 * As composefs-rs labels: the last rule that matches the whole path wins, .local and .homedirs following in this
 * order. A substitution applies to a path that equals its alias, and through it to what is below; .subs_dist
 * before .subs.
 * @throws OneholdError "corrupt" where composefs-rs would refuse the files; "unsupported" beyond our bounds
 */
export function composefsContexts(files: ContextFiles): FileContexts {
  const rules = rulesOf(files, ["file_contexts", "file_contexts.local", "file_contexts.homedirs"], "composefs");
  const index = new RuleIndex(
    rules.map((rule, rank) => {
      if (isLiteral(rule.pattern)) return literal(rule, rank, unescaped(rule.pattern));
      return indexed(rule, rank, () => parsePattern(rule.pattern), "");
    }),
  );
  const aliases = new Map(
    (["file_contexts.subs", "file_contexts.subs_dist"] as const)
      .flatMap((name) => substitutionsOf(files, name, "composefs"))
      .map(({ alias, original }) => [alias, original]),
  );
  return {
    childPath(directory, name) {
      const path = `${directory}${directory.endsWith("/") ? "" : "/"}${name}` as ByteString;
      return aliases.get(path) ?? path;
    },
    labelOf: (path, type) => index.find(path, type)?.label,
  };
}

/** Above every rule with a pattern. */
const literalRank = 2 ** 32;

/**
 * As libselinux's selabel_lookup labels (3.4, and 3.11 where nothing else is said): a rule without a pattern wins over
 * all with one, then the last one wins, .homedirs and .local following in this order. Substitutions apply to every
 * path that is an alias or below one: the last one of .subs, to the result the last one of .subs_dist.
 *
 * Taken over with their quirks: `^` and `$` are put around an expression without a group, so that alternatives at its
 * top match parts of paths; `$` also matches before a newline at the end; a rule whose first name has no pattern is
 * for paths below that name only.
 *
 * Of rules without a pattern for the same path 3.11 takes the first one, not the last. 3.4 finds no rule with a
 * backslash in such a first name, and takes `\w` for no pattern; here it is as in 3.11. Where an expression is
 * malformed, libselinux gives no labels to the paths that come to it; the policy is refused here.
 * @throws OneholdError "corrupt" where libselinux would refuse the files; "unsupported" beyond our bounds
 */
export function libselinuxContexts(files: ContextFiles): FileContexts {
  const rules = rulesOf(files, ["file_contexts", "file_contexts.homedirs", "file_contexts.local"], "libselinux");
  const index = new RuleIndex(rules.flatMap(asLibselinux));
  const local = substitutionsOf(files, "file_contexts.subs", "libselinux").toReversed();
  const distributed = substitutionsOf(files, "file_contexts.subs_dist", "libselinux").toReversed();
  return {
    childPath: (directory, name) => `${directory === "/" ? "" : directory}/${name}` as ByteString,
    labelOf: (path, type) => index.find(substitute(distributed, substitute(local, path)), type)?.label,
  };
}

function asLibselinux(rule: ContextRule, position: number): IndexedRule[] {
  if (isLiteral(rule.pattern)) {
    const path = unescaped(rule.pattern);
    const rank = literalRank + position;
    return [literal(rule, rank, path), literal(rule, rank, `${path}\n` as ByteString)];
  }
  const first = firstName.exec(rule.pattern)?.[0] ?? "";
  const below = isLiteral(first) ? unescaped(first) : "";
  return [indexed(rule, position, () => unanchored(parsePattern(rule.pattern)), below)];
}

function literal(rule: ContextRule, rank: number, path: ByteString): IndexedRule {
  return { rule, rank, prefix: path, piece: "", pattern: undefined };
}

/** What libselinux compares first: the first name of a path, where more follows. */
const firstName = /^[^.^$?*+|[({][^/.^$?*+|[({]*\//;

function unescaped(text: string): ByteString {
  return text.replace(/\\(.)/gs, "$1") as ByteString;
}

const anything: Pattern = { kind: "repeat", part: anyByte, min: 0, max: Infinity };
const newlineAtEnd: Pattern = { kind: "repeat", part: { kind: "byte", value: 10 }, min: 0, max: 1 };

/** What `^pattern$` matches: `^a|b$` is all that begins with a, and all that ends with b. */
function unanchored(pattern: Pattern): Pattern {
  const options = alternatives(pattern);
  const last = options.length - 1;
  const around = options.map((option, i): Pattern => {
    const before = i === 0 ? [] : [anything];
    const parts = option.kind === "sequence" ? option.parts : [option];
    return { kind: "sequence", parts: [...before, ...parts, i === last ? newlineAtEnd : anything] };
  });
  const [only] = around;
  return last === 0 && only !== undefined ? only : { kind: "choice", options: around };
}

/**
 * With what a path must begin with: what the pattern begins with where that is plain, or `below`. A malformed
 * expression is refused at once; one that we can't understand only when it may be meant.
 */
function indexed(rule: ContextRule, rank: number, pattern: () => Pattern, below: string): IndexedRule {
  let runs: string[];
  try {
    runs = literalRuns(pattern());
  } catch (error) {
    if (!(error instanceof OneholdError) || error.code !== "unsupported") throw error;
    runs = rule.pattern.includes("|") ? [""] : [plainDirectories.exec(rule.pattern)?.[0] ?? ""];
  }
  const [leading = "", ...others] = runs;
  const prefix = (leading.length > below.length ? leading : below) as ByteString;
  const piece = others.reduce((longest, run) => (run.length > longest.length ? run : longest), "");
  return { rule, rank, prefix, piece: piece.slice(0, maxPiece), pattern };
}

const plainDirectories = /^(?:\/[\w-]+)*\/(?![*+?{])/;
/** Bytes. A longer one is not found sooner. */
const maxPiece = 32;

/** The bytes that stand together in every text of a pattern. The first ones are those that it begins with. */
function literalRuns(pattern: Pattern): string[] {
  const parts = pattern.kind === "sequence" ? pattern.parts : [];
  const runs: string[] = [];
  let run = "";
  for (const part of parts) {
    if (part.kind === "byte") run += String.fromCharCode(part.value);
    else {
      runs.push(run);
      run = "";
    }
  }
  return [...runs, run];
}

function substitute(substitutions: readonly Substitution[], path: ByteString): ByteString {
  for (const { alias, original } of substitutions) {
    if (!path.startsWith(alias)) continue;
    const below = path.slice(alias.length);
    if (below !== "" && !below.startsWith("/")) continue;
    return `${original}${original === "/" ? below.slice(1) : below}` as ByteString;
  }
  return path;
}

function rulesOf(files: ContextFiles, names: readonly ContextFileName[], reader: Reader): ContextRule[] {
  if (!files.has("file_contexts")) throw new OneholdError("corrupt", "the SELinux policy has no file_contexts");
  return names.flatMap((name) => {
    const bytes = files.get(name);
    return bytes === undefined ? [] : parseRules(bytes, name, reader);
  });
}

function substitutionsOf(files: ContextFiles, name: ContextFileName, reader: Reader): Substitution[] {
  const bytes = files.get(name);
  return bytes === undefined ? [] : parseSubstitutions(bytes, name, reader);
}
