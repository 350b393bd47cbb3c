import type { ByteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { Pattern } from "./file-contexts-pattern.ts";

/** Counts what matching costs, so that a hostile policy ends in an error and not in a hang. */
export interface Effort {
  /** Steps of automata and rules looked at so far. */
  steps: number;
}

/** Real rules have less than 100 states; `(x{999}){999}` would have a million. */
const maxStates = 4000;

/**
 * A pattern as a nondeterministic automaton, run on all states at once: the cost of a match is at most the length of
 * the text times the number of states, whatever the pattern. JavaScript's own RegExp backtracks, and hangs on
 * patterns made for it.
 */
export class Automaton {
  /** Of each state: the set of bytes that lead to the next one; none where the state forks or ends. */
  readonly #sets: readonly (Uint8Array | undefined)[];
  /** Of a fork: the two states that follow without a byte. The same one twice is a jump. */
  readonly #forks: readonly (readonly [number, number] | undefined)[];
  /** At which step a state was last reached. */
  readonly #marks: Float64Array;
  #mark = 0;

  /** @throws OneholdError "unsupported" where the pattern is too large */
  constructor(pattern: Pattern) {
    const builder = new Builder();
    builder.add(pattern);
    builder.end();
    this.#sets = builder.sets;
    this.#forks = builder.forks;
    this.#marks = new Float64Array(builder.sets.length).fill(-1);
  }

  /** States. */
  get size(): number {
    return this.#sets.length;
  }

  /** Whether the text from `start` to its end is one of the pattern's. */
  matches(text: ByteString, start: number, effort: Effort): boolean {
    let current: number[] = [];
    let next: number[] = [];
    this.#follow(0, current, effort);
    for (let at = start; at < text.length && current.length > 0; at++) {
      const byte = text.charCodeAt(at);
      this.#mark++;
      for (const state of current) if (this.#sets[state]?.[byte] === 1) this.#follow(state + 1, next, effort);
      [current, next] = [next, current];
      next.length = 0;
    }
    this.#mark++;
    return current.includes(this.#sets.length - 1);
  }

  /** Adds the states that are reached without a byte; of those only the ones that take a byte, or the end. */
  #follow(state: number, into: number[], effort: Effort): void {
    effort.steps++;
    if (this.#marks[state] === this.#mark) return;
    this.#marks[state] = this.#mark;
    const fork = this.#forks[state];
    if (fork === undefined) {
      into.push(state);
      return;
    }
    this.#follow(fork[0], into, effort);
    this.#follow(fork[1], into, effort);
  }
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
    options.forEach((option, i) => {
      if (i === options.length - 1) {
        this.add(option);
        return;
      }
      const fork = this.#fork();
      this.add(option);
      ends.push(this.#fork());
      fork[1] = this.sets.length;
    });
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
