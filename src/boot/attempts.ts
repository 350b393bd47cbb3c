import { OneholdError } from "#base/errors.ts";

/** For what is shown as far as it can be read: what failed is kept, and the rest goes on. */
export class Attempts {
  readonly failures: OneholdError[] = [];

  /** undefined where it fails with an error that users may see, and that then says where. */
  try<T>(read: () => T, where?: string): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof OneholdError)) throw error;
      this.failures.push(where === undefined ? error : placed(error, where));
      return undefined;
    }
  }
}

function placed(error: OneholdError, where: string): OneholdError {
  const { code, message, hint, subject = where } = error;
  const placedMessage = message.includes(where) ? message : `${where}: ${message}`;
  return new OneholdError(code, placedMessage, { cause: error, subject, ...(hint === undefined ? {} : { hint }) });
}
