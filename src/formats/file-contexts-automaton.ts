import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Pattern } from "./file-contexts-pattern.ts";

/** Real rules have less than 100 states; `(x{999}){999}` would have a million. */
const maxStates = 4000;
/** Numbers in all sets of states that are remembered: some 50 MB. */
const maxRemembered = 4_000_000;

/** What the automata of a policy share: what they cost, and what they remember of earlier texts. */
export class Workspace {
  /** Work so far: bytes of text, and states made. A hostile policy shall end in an error and not in a hang. */
  steps = 0;
  readonly #starts = new Map<Automaton, StateSet>();
  #remembered = 0;

  startOf(automaton: Automaton, make: () => StateSet): StateSet {
    let start = this.#starts.get(automaton);
    if (start === undefined) this.#starts.set(automaton, (start = make()));
    return start;
  }

  remember(size: number): void {
    this.steps += size;
    this.#remembered += size;
    if (this.#remembered < maxRemembered) return;
    this.#starts.clear();
    this.#remembered = 0;
  }
}

/** The states that an automaton can be in after some text: a state of a deterministic automaton, made when needed. */
interface StateSet {
  readonly states: readonly number[];
  readonly accepts: boolean;
  /** What follows after a byte, by the byte's class. */
  readonly next: (StateSet | undefined)[];
  /** All sets of this automaton, by their states. */
  readonly known: Map<string, StateSet>;
}

/**
 * A pattern as a nondeterministic automaton, run on all states at once: the cost of a match is at most the length of
 * the text times the number of states, whatever the pattern, and mostly a look into a table for each byte.
 * JavaScript's own RegExp backtracks, and hangs on patterns made for it.
 */
export class Automaton {
  /** Of each state: the set of bytes that lead to the next one; none where the state forks or ends. */
  readonly #sets: readonly (Uint8Array | undefined)[];
  /** Of a fork: the two states that follow without a byte. The same one twice is a jump. */
  readonly #forks: readonly (readonly [number, number] | undefined)[];
  /** Bytes that no set tells apart are of one class. */
  readonly #classes: Uint8Array;
  /** What it took to make it, in steps. */
  readonly cost: number;

  /** @throws OneholdError "unsupported" where the pattern is too large */
  constructor(pattern: Pattern) {
    const builder = new Builder();
    builder.add(pattern);
    builder.end();
    this.#sets = builder.sets;
    this.#forks = builder.forks;
    const distinct = new Set(builder.sets);
    this.#classes = classesOf(distinct);
    this.cost = builder.sets.length + distinct.size * 256;
  }

  /** States. */
  get size(): number {
    return this.#sets.length;
  }

  /** Whether the whole text is one of the pattern's. */
  matches(text: ByteString, workspace: Workspace): boolean {
    let set = workspace.startOf(this, () => this.#setOf([0], new Map(), workspace));
    let at = 0;
    for (; at < text.length && set.states.length > 0; at++) {
      const byte = text.charCodeAt(at);
      set = set.next[this.#classes[byte] ?? 0] ?? this.#follow(set, byte, workspace);
    }
    workspace.steps += at;
    return set.accepts;
  }

  #follow(from: StateSet, byte: number, workspace: Workspace): StateSet {
    const after = from.states.filter((state) => this.#sets[state]?.[byte] === 1).map((state) => state + 1);
    const set = this.#setOf(after, from.known, workspace);
    from.next[this.#classes[byte] ?? 0] = set;
    workspace.remember(1);
    return set;
  }

  /** With the states that are reached without a byte; of those only the ones that take a byte, or the end. */
  #setOf(reached: number[], known: Map<string, StateSet>, workspace: Workspace): StateSet {
    const seen = new Set<number>();
    for (const waiting = reached; waiting.length > 0; ) {
      const state = waiting.pop();
      if (state === undefined || seen.has(state)) continue;
      seen.add(state);
      waiting.push(...(this.#forks[state] ?? []));
    }
    workspace.steps += seen.size;
    const states = [...seen].filter((state) => this.#forks[state] === undefined).toSorted((a, b) => a - b);
    const key = states.join();
    const there = known.get(key);
    if (there !== undefined) return there;
    const set: StateSet = { states, accepts: states.at(-1) === this.#sets.length - 1, next: [], known };
    known.set(key, set);
    workspace.remember(2 * states.length + 1);
    return set;
  }
}

function classesOf(sets: ReadonlySet<Uint8Array | undefined>): Uint8Array {
  const classes = new Uint8Array(256);
  for (const set of sets) {
    if (set === undefined) continue;
    // By the class so far and whether the set has the byte; one more than the class, so that 0 is none.
    const finer = new Uint16Array(512);
    let count = 0;
    for (let byte = 0; byte < 256; byte++) {
      const key = (classes[byte] ?? 0) * 2 + (set[byte] ?? 0);
      if (finer[key] === 0) finer[key] = ++count;
      classes[byte] = (finer[key] ?? 1) - 1;
    }
  }
  return classes;
}

class Builder {
  readonly sets: (Uint8Array | undefined)[] = [];
  readonly forks: ([number, number] | undefined)[] = [];

  add(pattern: Pattern): void {
    switch (pattern.kind) {
      case "byte":
        this.#state(singleByte(pattern.value), undefined);
        break;
      case "set":
        this.#state(pattern.members, undefined);
        break;
      case "sequence":
        for (const part of pattern.parts) this.add(part);
        break;
      case "choice":
        this.#choice(pattern.options);
        break;
      case "repeat":
        this.#repeat(pattern.part, pattern.min, pattern.max);
        break;
    }
  }

  end(): void {
    this.#state(undefined, undefined);
  }

  #choice(options: readonly Pattern[]): void {
    const ends: [number, number][] = [];
    for (const [i, option] of options.entries()) {
      if (i === options.length - 1) {
        this.add(option);
        break;
      }
      const fork = this.#fork();
      this.add(option);
      ends.push(this.#fork());
      fork[1] = this.sets.length;
    }
    for (const end of ends) end.fill(this.sets.length);
  }

  #repeat(part: Pattern, min: number, max: number): void {
    for (let i = 0; i < min; i++) {
      const before = this.sets.length;
      this.add(part);
      // Nothing, however often.
      if (this.sets.length === before) return;
    }
    if (max === Infinity) {
      const start = this.sets.length;
      const fork = this.#fork();
      this.add(part);
      this.#fork().fill(start);
      fork[1] = this.sets.length;
      return;
    }
    const forks: [number, number][] = [];
    for (let i = min; i < max; i++) {
      forks.push(this.#fork());
      this.add(part);
    }
    for (const fork of forks) fork[1] = this.sets.length;
  }

  /** A fork to the state after it, and to one that the caller fills in. */
  #fork(): [number, number] {
    const fork: [number, number] = [this.sets.length + 1, this.sets.length + 1];
    this.#state(undefined, fork);
    return fork;
  }

  #state(set: Uint8Array | undefined, fork: [number, number] | undefined): void {
    if (this.sets.length >= maxStates) {
      throw new OneholdError("unsupported", `a regular expression needs more than ${maxStates} states`);
    }
    this.sets.push(set);
    this.forks.push(fork);
  }
}

const singles: Uint8Array[] = [];

function singleByte(value: number): Uint8Array {
  const known = singles[value];
  if (known !== undefined) return known;
  const set = new Uint8Array(256);
  set[value] = 1;
  singles[value] = set;
  return set;
}
