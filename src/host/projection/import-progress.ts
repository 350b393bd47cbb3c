import type { HostContext } from "../operation.ts";

/**
 * How far an import is, in bytes of the layers' tars, of which files are the most part. Complete only at the end, when
 * all is published: the last files are not the last step.
 */
export class ImportProgress {
  readonly #context: HostContext;
  readonly #id: string;
  /** 0 where it is not known. */
  readonly #total: number;
  #read = 0;

  /** `id`: the image's name. `sizes`: of the tars of the layers that have to be read, where they are known. */
  constructor(context: HostContext, id: string, sizes: readonly (number | undefined)[]) {
    this.#context = context;
    this.#id = id;
    this.#total = sizes.includes(undefined) ? 0 : sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  }

  add(bytes: number): void {
    this.#read += bytes;
    const shown = this.#total === 0 ? this.#read : Math.min(this.#read, this.#total - 1);
    this.#report(shown, this.#total);
  }

  finish(): void {
    const total = this.#total === 0 ? this.#read : this.#total;
    this.#report(total, total);
  }

  #report(bytes: number, bytesTotal: number): void {
    this.#context.report({
      kind: "bytes",
      task: "importing",
      id: this.#id,
      description: descriptions[this.#context.sysroot.backend],
      bytes,
      bytesCached: 0,
      bytesTotal,
      steps: 0,
      stepsCached: 0,
      stepsTotal: 0,
      parts: [],
      estimated: false,
    });
  }
}

const descriptions = {
  ostree: "Sharing with the ostree repository",
  composefs: "Sharing with the composefs repository",
  both: "Sharing with ostree and composefs",
} as const;
