import { type ErrorCode, type ErrorDetails, OneholdError } from "#base/errors.ts";
import { SystemError, toSystemError } from "./system-error.ts";

/** An error on its way from a worker: a structured clone would lose its class and its fields. */
export type PackedError =
  | (PackedBase & { readonly kind: "other" })
  | (PackedBase & { readonly kind: "onehold"; readonly code: ErrorCode })
  | (PackedBase & {
      readonly kind: "system";
      readonly syscall: string;
      readonly errno: number;
      readonly path: string | undefined;
    });

interface PackedBase {
  readonly message: string;
  readonly stack: string | undefined;
  readonly hint: string | undefined;
  readonly subject: string | undefined;
  readonly cause: PackedError | undefined;
}

/** In the worker. What node:fs throws becomes a SystemError; of a chain of causes the first eight are kept. */
export function packError(thrown: unknown, depth = 0): PackedError {
  const error = toSystemError(thrown);
  if (!(error instanceof Error)) {
    return {
      kind: "other",
      message: String(error),
      stack: undefined,
      hint: undefined,
      subject: undefined,
      cause: undefined,
    };
  }
  const { message, stack } = error;
  const cause = error.cause === undefined || depth === 8 ? undefined : packError(error.cause, depth + 1);
  if (!(error instanceof OneholdError))
    return { kind: "other", message, stack, hint: undefined, subject: undefined, cause };
  const { code, hint, subject } = error;
  if (!(error instanceof SystemError)) return { kind: "onehold", code, message, stack, hint, subject, cause };
  const { syscall, errno, path } = error;
  return { kind: "system", syscall, errno, path, message, stack, hint, subject, cause };
}

/** In the thread that asked: the same class and fields again, and the stack of where it was thrown. */
export function unpackError(packed: PackedError): Error {
  const error = construct(packed, {
    ...(packed.hint === undefined ? {} : { hint: packed.hint }),
    ...(packed.subject === undefined ? {} : { subject: packed.subject }),
    ...(packed.cause === undefined ? {} : { cause: unpackError(packed.cause) }),
  });
  error.message = packed.message;
  if (packed.stack !== undefined) error.stack = packed.stack;
  return error;
}

function construct(packed: PackedError, details: ErrorDetails): Error {
  switch (packed.kind) {
    case "system":
      return new SystemError(packed.syscall, packed.errno, packed.path, details);
    case "onehold":
      return new OneholdError(packed.code, packed.message, details);
    case "other":
      return new Error(packed.message, details);
  }
}
