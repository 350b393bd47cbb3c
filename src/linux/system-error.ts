import { constants } from "node:os";
import { getSystemErrorMessage } from "node:util";
import { type ErrorDetails, OneholdError } from "#base/errors.ts";

export interface SystemErrorDetails extends ErrorDetails {
  /** What of the path it was about: an attribute's name. */
  readonly aspect?: string;
  /** What the kernel said beyond the number, in its own words. */
  readonly kernelSaid?: string;
}

/**
 * A failed system call, whether it was ours or one of node:fs. Callers tell outcomes apart by `errnoName`
 * (see `isErrno`), never by the message.
 */
export class SystemError extends OneholdError {
  override readonly name = "SystemError";
  /** Positive, as in errno.h. */
  readonly errno: number;
  /** "ENOENT". Of two names for one number the kernel's: ENOTSUP is EOPNOTSUPP, EWOULDBLOCK is EAGAIN. */
  readonly errnoName: string;
  readonly syscall: string;
  readonly path: string | undefined;

  constructor(syscall: string, errno: number, path?: string, details: SystemErrorDetails = {}) {
    const errnoName = nameOfErrno(errno);
    const subject = details.subject ?? path;
    const what = [syscall, path, details.aspect].filter((part) => part !== undefined).join(" ");
    const said = details.kernelSaid === undefined ? "" : `: ${details.kernelSaid}`;
    super("system", `${what}: ${textOfErrno(errno)} (${errnoName})${said}`, {
      ...details,
      ...(subject === undefined ? {} : { subject }),
    });
    this.errno = errno;
    this.errnoName = errnoName;
    this.syscall = syscall;
    this.path = path;
  }
}

/** Whether a system call failed with one of these errors: for our own SystemError and for what node:fs throws. */
export function isErrno(error: unknown, ...names: string[]): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && names.some((name) => numbers.get(name) === errno);
}

/** Runs what calls node:fs, so that its failures are SystemErrors as well. */
export function withSystemErrors<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw toSystemError(error);
  }
}

/** The SystemError for an error of node:fs or node:child_process; every other error as it is. */
export function toSystemError<T>(error: T): T | SystemError {
  if (!(error instanceof Error) || error instanceof OneholdError) return error;
  const errno = errnoOf(error);
  if (errno === undefined) return error;
  const { syscall, path } = error as NodeJS.ErrnoException;
  return new SystemError(syscall ?? "system call", errno, path, { cause: error });
}

function errnoOf(error: unknown): number | undefined {
  if (error instanceof SystemError) return error.errno;
  if (!(error instanceof Error) || !("errno" in error) || typeof error.errno !== "number") return undefined;
  // Of node's own: the number is negative, and below -3000 it is one of libuv's that no kernel returns.
  return error.errno < 0 && error.errno > -3000 ? -error.errno : undefined;
}

// Linux has these as well; the numbers are those of x86-64 and aarch64.
const numbers = new Map<string, number>([
  ...Object.entries(constants.errno),
  ["ENOTBLK", 15],
  ["EUCLEAN", 117],
  ["ENOKEY", 126],
  ["EKEYREJECTED", 129],
]);
const aliases = ["ENOTSUP", "EWOULDBLOCK"];
const names = new Map([...numbers].filter(([name]) => !aliases.includes(name)).map(([name, number]) => [number, name]));

function nameOfErrno(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

// libuv has no text for some, and for one a text about sockets.
const texts = new Map([
  ["EOPNOTSUPP", "operation not supported"],
  ["EBADMSG", "bad message (stored data is damaged)"],
  ["EDQUOT", "disk quota exceeded"],
  ["ENOLCK", "no locks available"],
  ["ESTALE", "stale file handle"],
  ["EUCLEAN", "the file system's structure needs cleaning"],
]);

function textOfErrno(errno: number): string {
  return texts.get(nameOfErrno(errno)) ?? getSystemErrorMessage(-errno) ?? "failed";
}
