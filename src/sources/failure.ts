import { type ErrorCode, OneholdError } from "#base/errors.ts";
import { ProgramError } from "#linux/child.ts";

interface FailureClass {
  /** What podman, skopeo or the registry says. */
  readonly words: RegExp;
  readonly code: ErrorCode;
  /** In our words, before theirs. */
  readonly summary: string;
  readonly hint: string;
}

/** In this order: the first whose words are there. */
const classes: readonly FailureClass[] = [
  {
    words: /no space left on device|disk quota exceeded/i,
    code: "no-space",
    summary: "the disk is full, or has no inodes left",
    hint: "Make room, for example with `onehold image remove`, and try again: layers that are complete stay and are not fetched again.",
  },
  {
    words:
      /source image rejected|rejected by policy|running image .* rejected|no policy\.json file|invalid policy|required signature|signature.* (?:not accepted|was required)|parsing policy/i,
    code: "pull-failed",
    summary: "the signature policy of this host does not allow it",
    hint: "The policy is /etc/containers/policy.json: see containers-policy.json(5).",
  },
  {
    words: /is blocked by configuration|registry .* is blocked/i,
    code: "pull-failed",
    summary: "registries.conf blocks this registry",
    hint: "See /etc/containers/registries.conf and the files in registries.conf.d.",
  },
  {
    words: /server gave HTTP response to HTTPS client/i,
    code: "pull-failed",
    summary: "the registry does not speak TLS",
    hint: "If you trust the network between, use --tls-verify=false, or set `insecure = true` for it in /etc/containers/registries.conf.",
  },
  {
    words: /x509:|tls: |certificate/i,
    code: "pull-failed",
    summary: "the registry's certificate is not trusted",
    hint: "Put the certificate of its authority into /etc/containers/certs.d/REGISTRY/ca.crt, or use --tls-verify=false if you trust the network between.",
  },
  {
    words:
      /unauthorized|authentication required|access denied|denied: |invalid username\/password|status code 40[13]|invalid status code .*40[13]/i,
    code: "pull-failed",
    summary: "the registry refuses access",
    hint: "Credentials are read from /run/ostree/auth.json, /etc/ostree/auth.json or /usr/lib/ostree/auth.json, the first that exists: `podman login --authfile /etc/ostree/auth.json REGISTRY` writes one.",
  },
  {
    words:
      /manifest unknown|name unknown|repository name not known|no such image|does not resolve to an image ID|identifier is not an image|unable to find a manifest|no descriptor found for reference|image not known|status code 404/i,
    code: "pull-failed",
    summary: "there is no such image",
    hint: "Check the name and the tag.",
  },
  {
    words:
      /no image found in (?:image index|manifest list)|choosing an image from manifest list|does not match (?:the )?(?:expected|host) (?:os|architecture)/i,
    code: "pull-failed",
    summary: "the image is not made for this machine's architecture",
    hint: "Choose a tag that has an image for this machine.",
  },
  {
    words: /database (?:configuration )?mismatch|database graph root|database run root/i,
    code: "pull-failed",
    summary: "podman knows this image store under another path",
    hint: "A podman with other paths has used the store as its own. Remove its files libpod/bolt_state.db and db.sql: images don't need them.",
  },
  {
    words: /processing tar file|unpacking failed|applytar|duplicates of file paths|invalid tar header/i,
    code: "corrupt",
    summary: "a layer can't be unpacked",
    hint: "The layer's tar is damaged or against the rules (a hardlink to a file of another layer, a path twice): build the image anew.",
  },
  {
    words:
      /digest did not match|does not match (?:the )?(?:digest|expected)|manifest does not match|size mismatch|gzip: invalid|corrupt input|invalid input: magic number mismatch|flate: /i,
    code: "corrupt",
    summary: "what arrived is not what the manifest promises",
    hint: "The image is damaged in the registry or on the way: try again, and where that does not help, push it anew.",
  },
  {
    words:
      /connection refused|connection reset|no such host|i\/o timeout|network is unreachable|no route to host|unexpected EOF|: EOF|^EOF|Client\.Timeout|context deadline exceeded|server misbehaving|broken pipe|status code 5\d\d|received unexpected HTTP status: 5/i,
    code: "pull-failed",
    summary: "the registry can't be reached, or the connection broke",
    hint: "Check the network and the registry and try again: layers that are complete stay and are not fetched again.",
  },
  {
    words: /repository name must be lowercase/i,
    code: "pull-failed",
    summary: "podman can't make a name of this path",
    hint: "Use --source skopeo, or a path without capital letters.",
  },
  {
    words: /no such file or directory|not a directory/i,
    code: "pull-failed",
    summary: "there is no image at this path",
    hint: "Check the path and the kind of the image: oci:FOLDER:TAG, oci-archive:FILE:TAG or dir:FOLDER.",
  },
];

/**
 * The error for a pull (or a look at a registry) that failed, from the words of the program that failed: what
 * failed, why, and what to do where the words tell.
 */
export function pullFailure(reference: string, words: string, cause?: unknown): OneholdError {
  const said = printable(words);
  const known = classes.find((failure) => failure.words.test(said));
  const because = known === undefined ? said : `${known.summary}: ${said}`;
  return new OneholdError(known?.code ?? "pull-failed", `${reference} was not pulled: ${because}`, {
    subject: reference,
    ...(known === undefined ? {} : { hint: known.hint }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Waits for a program that works on this image; its failure becomes that of the pull. */
export async function inWordsOf<T>(reference: string, program: Promise<T>): Promise<T> {
  try {
    return await program;
  } catch (error) {
    if (error instanceof ProgramError) throw pullFailure(reference, finalWords(error.stderr), error);
    throw error;
  }
}

/** What podman or skopeo said last, without their decoration (`Error: `, or `time=… level=fatal msg=…`). */
export function finalWords(stderr: string): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const error =
    lines.findLast((line) => line.startsWith("Error: ") || /level=(?:fatal|error)/.test(line)) ?? lines.at(-1);
  return error === undefined ? "it did not say why" : undecorated(error);
}

/**
 * podman 5 shortens an error to its last part ("connection refused"). Where it has tried again, its log has the
 * whole: which address it was.
 */
export function fullWords(words: string, stderr: string): string {
  const retry = stderr.split("\n").findLast((line) => line.includes("retrying in"));
  const whole = retry === undefined ? undefined : /Error: (.*)$/s.exec(undecorated(retry))?.[1];
  return whole?.endsWith(words) === true ? whole : words;
}

function undecorated(line: string): string {
  const message = /\bmsg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  return message === undefined ? line.replace(/^Error: /, "") : unquoted(message);
}

/** Go quotes nearly as JSON does. */
function unquoted(quoted: string): string {
  try {
    const value: unknown = JSON.parse(quoted);
    return typeof value === "string" ? value : quoted;
  } catch {
    return quoted.slice(1, -1);
  }
}

/** What a registry sends must not steer the user's terminal. */
function printable(words: string): string {
  // oxlint-disable-next-line no-control-regex -- the point is to find them
  const oneLine = words.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
  return oneLine.trim().slice(0, 1000);
}
