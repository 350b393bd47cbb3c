import { OneholdError } from "#base/errors.ts";

/** For what is shown as far as it can be read: what failed is kept, and the rest goes on. */
export class Attempts {
  readonly failures: OneholdError[] = [];

  /** undefined where it fails with an error that users may see. */
  try<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof OneholdError)) throw error;
      this.failures.push(error);
      return undefined;
    }
  }
}
