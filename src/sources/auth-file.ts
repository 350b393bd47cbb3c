import { constants, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { messageOf, OneholdError } from "#base/errors.ts";
import { type Descriptor, O_TMPFILE, openFile } from "#linux/descriptor.ts";
import { isErrno } from "#linux/system-error.ts";

/** In bootc's order: the first that exists counts, and podman's own files never do. */
const authFiles = ["run/ostree/auth.json", "etc/ostree/auth.json", "usr/lib/ostree/auth.json"];

/** valibot would take an array for an object. */
const plainObject = v.custom<object>((value) => typeof value === "object" && value !== null && !Array.isArray(value));
/** The rest of the file (credHelpers and the like) is for podman to judge. */
const authFileSchema = v.pipe(
  plainObject,
  v.looseObject({
    auths: v.optional(v.pipe(plainObject, v.record(v.string(), v.looseObject({ auth: v.optional(v.string()) })))),
  }),
);

/**
 * The credentials for registries as an anonymous file, open for reading at its start; without any auth file
 * on the host an empty set, so that podman does not look for one of the user's. A file that is there and can't
 * be used is an error and not skipped: the next one may hold the credentials of someone else.
 */
export function openCredentials(root = "/"): Descriptor {
  const content = readAuthFile(root) ?? "{}";
  const file = openFile("/run", O_TMPFILE | constants.O_RDWR, 0o600);
  try {
    writeSync(file.fd, content);
    return file;
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/** The content of the auth file that counts, checked; undefined where there is none. */
export function readAuthFile(root = "/"): string | undefined {
  for (const name of authFiles) {
    const path = join(root, name);
    const content = readIfThere(path);
    if (content === undefined) continue;
    check(path, content);
    return content;
  }
  return undefined;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw unusable(path, `it can't be read: ${messageOf(error)}`, error);
  }
}

function check(path: string, content: string): void {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    // The parser's own words quote the text around the mistake: a password, maybe.
    throw unusable(path, "it is not JSON", error instanceof SyntaxError ? undefined : error);
  }
  if (!v.is(authFileSchema, value))
    throw unusable(path, 'it has no "auths" object of the form that podman login writes');
}

function unusable(path: string, why: string, cause?: unknown): OneholdError {
  return new OneholdError("pull-failed", `the file of registry credentials ${path} can't be used: ${why}`, {
    subject: path,
    hint: `Write it anew with \`podman login --authfile ${path} REGISTRY\`, or remove it to pull without credentials.`,
    ...(cause === undefined ? {} : { cause }),
  });
}
