/** What kinds of failure a caller may want to tell apart. */
export type ErrorCode =
  | "usage" // the command line is wrong (exit status 2)
  | "system" // a system call failed: see SystemError
  | "program-missing" // podman, skopeo, ostree … is not installed
  | "program-failed" // such a program ended with an error
  | "interrupted" // the user (or systemd) asked us to stop
  | "corrupt" // stored or received bytes are not what their digest or format says
  | "unsupported" // a real thing that Onehold (or the file system) can't do
  | "not-found" // an image, layer or store that is not there
  | "cannot-share" // sharing needs a copy and --allow-copy was not given
  | "no-space" // the disk is, or surely would become, full
  | "pull-failed" // the registry, the policy or the transport refused
  | "unsafe-repository" // an ostree repository whose settings would corrupt what we write
  | "not-utf8" // a file name that ostree can't hold
  | "busy" // another operation holds what we need
  | "bug"; // an assumption of ours was wrong

export interface ErrorDetails {
  /** What the user can do about it; a full sentence. */
  readonly hint?: string;
  /** The file, directory or image that the failure is about. */
  readonly subject?: string;
  readonly cause?: unknown;
}

/**
 * Every failure that a user may see. `message` says what failed, on what and why; `hint` what to do.
 * A mistake of the program itself stays a plain Error.
 */
export class OneholdError extends Error {
  override readonly name: string = "OneholdError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly subject: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.subject = details.subject;
  }
}

/** The error's own message, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** For the `default` of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
