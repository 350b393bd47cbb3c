import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { Automaton, Workspace } from "./file-contexts-automaton.ts";
import type { ContextRule, FileType } from "./file-contexts-lines.ts";
import type { Pattern } from "./file-contexts-pattern.ts";

/** A rule, and what whole paths it is for. */
export interface IndexedRule {
  readonly rule: ContextRule;
  /** The higher one wins where two rules match. */
  readonly rank: number;
  /** What every path that matches begins with. */
  readonly prefix: ByteString;
  /** What every such path has in it, besides. Empty where nothing is known. */
  readonly piece: string;
  /** What they are as a whole; none where the prefix is the only path. Throws where it can't be understood. */
  readonly pattern: (() => Pattern) | undefined;
}

interface Candidate extends IndexedRule {
  automaton?: Automaton;
}

/** Debian's policy takes 350 steps a path on average, 60,000 for the first one. */
const stepsPerLookup = 50_000;
const stepsToBeginWith = 50_000_000;
/** Of all automata. For a Debian host a few thousand are made. */
const maxStates = 1_000_000;

/**
 * Finds the highest rule that matches a path. Rules are kept by the directory that their prefix names, so that only
 * those of a path's own parents are looked at; their automata are made when first needed. A policy made to be slow
 * ends in an error ("unsupported") after 50,000 steps (well below a millisecond) for each path asked for, on average.
 */
export class RuleIndex {
  readonly #exact = new Map<ByteString, IndexedRule[]>();
  readonly #byDirectory = new Map<string, Candidate[]>();
  readonly #workspace = new Workspace();
  #allowed = stepsToBeginWith;
  #states = 0;

  constructor(rules: readonly IndexedRule[]) {
    for (const rule of rules.toSorted((a, b) => b.rank - a.rank)) {
      if (rule.pattern === undefined) append(this.#exact, rule.prefix, rule);
      else append(this.#byDirectory, rule.prefix.slice(0, Math.max(0, rule.prefix.lastIndexOf("/"))), { ...rule });
    }
  }

  /** `path` begins with a slash; neither ends with one nor has two together. */
  find(path: ByteString, type: FileType): ContextRule | undefined {
    this.#allowed = Math.min(this.#allowed + stepsPerLookup, this.#workspace.steps + stepsToBeginWith);
    let best = this.#exact.get(path)?.find(({ rule }) => isFor(rule, type));
    for (let end = path.length; end >= 0; end = end === 0 ? -1 : Math.max(0, path.lastIndexOf("/", end - 1))) {
      this.#workspace.steps += 1 + (end >> 4);
      const candidates = this.#byDirectory.get(path.slice(0, end));
      if (candidates !== undefined) best = this.#findAbove(best, candidates, path, type) ?? best;
    }
    return best?.rule;
  }

  #findAbove(
    best: IndexedRule | undefined,
    candidates: readonly Candidate[],
    path: ByteString,
    type: FileType,
  ): IndexedRule | undefined {
    for (const candidate of candidates) {
      if (this.#workspace.steps++ > this.#allowed) throw tooSlow(candidate.rule);
      if (best !== undefined && candidate.rank < best.rank) return undefined;
      if (!isFor(candidate.rule, type) || !path.startsWith(candidate.prefix)) continue;
      this.#workspace.steps += path.length >> 3;
      if (!path.includes(candidate.piece)) continue;
      candidate.automaton ??= this.#automatonOf(candidate);
      if (candidate.automaton.matches(path, this.#workspace)) return candidate;
    }
    return undefined;
  }

  #automatonOf({ pattern, rule }: Candidate): Automaton {
    if (pattern === undefined) throw new Error("a path is no pattern");
    try {
      const automaton = new Automaton(pattern());
      this.#states += automaton.size;
      this.#workspace.steps += automaton.cost;
      if (this.#states <= maxStates) return automaton;
    } catch (cause) {
      if (!(cause instanceof OneholdError)) throw cause;
      throw new OneholdError(cause.code, `${rule.where}: ${cause.message}`, { cause });
    }
    throw new OneholdError("unsupported", `${rule.where}: the rules of this SELinux policy are too large to match`);
  }
}

function isFor(rule: ContextRule, type: FileType): boolean {
  return rule.type === undefined || rule.type === type;
}

function append<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

function tooSlow(rule: ContextRule): OneholdError {
  return new OneholdError("unsupported", `${rule.where}: the rules of this SELinux policy take too long to match`, {
    hint: "The policy may be made to be slow: look at where the image comes from.",
  });
}
