/**
 * A set of runs of a device's bytes, collected file by file: who adds the same bytes twice (two files that
 * share blocks) holds them once. Made for some hundred thousand extents.
 */
export class DeviceRanges {
  #starts: number[] = [];
  #ends: number[] = [];
  #normal = true;

  add(start: number, length: number): void {
    if (length <= 0) return;
    this.#starts.push(start);
    this.#ends.push(start + length);
    this.#normal = false;
  }

  /** Bytes in the set. */
  get bytes(): number {
    this.#normalize();
    let sum = 0;
    for (let i = 0; i < this.#starts.length; i++) sum += this.#end(i) - this.#start(i);
    return sum;
  }

  /** Bytes in both sets. */
  overlap(other: DeviceRanges): number {
    this.#normalize();
    other.#normalize();
    let sum = 0;
    for (let i = 0, j = 0; i < this.#starts.length && j < other.#starts.length; ) {
      const from = Math.max(this.#start(i), other.#start(j));
      const to = Math.min(this.#end(i), other.#end(j));
      if (to > from) sum += to - from;
      if (this.#end(i) < other.#end(j)) i++;
      else j++;
    }
    return sum;
  }

  /** What is in this set and not in the other. */
  without(other: DeviceRanges): DeviceRanges {
    this.#normalize();
    other.#normalize();
    const rest = new DeviceRanges();
    for (let i = 0, j = 0; i < this.#starts.length; i++) {
      let from = this.#start(i);
      const end = this.#end(i);
      while (j < other.#starts.length && other.#end(j) <= from) j++;
      for (let k = j; k < other.#starts.length && other.#start(k) < end; k++) {
        rest.add(from, other.#start(k) - from);
        from = Math.max(from, other.#end(k));
      }
      rest.add(from, end - from);
    }
    return rest;
  }

  /** Adds all of another set. */
  addAll(other: DeviceRanges): void {
    for (let i = 0; i < other.#starts.length; i++) this.add(other.#start(i), other.#end(i) - other.#start(i));
  }

  #normalize(): void {
    if (this.#normal) return;
    const order = Array.from(this.#starts.keys()).toSorted((a, b) => this.#start(a) - this.#start(b));
    const starts: number[] = [];
    const ends: number[] = [];
    for (const i of order) {
      const last = ends.length - 1;
      const end = ends[last];
      if (end !== undefined && this.#start(i) <= end) ends[last] = Math.max(end, this.#end(i));
      else {
        starts.push(this.#start(i));
        ends.push(this.#end(i));
      }
    }
    this.#starts = starts;
    this.#ends = ends;
    this.#normal = true;
  }

  #start(i: number): number {
    return this.#starts[i] ?? 0;
  }

  #end(i: number): number {
    return this.#ends[i] ?? 0;
  }
}
