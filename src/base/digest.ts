import { OneholdError } from "./errors.ts";

/** A digest as OCI writes it: `sha256:` and 64 lower-case hex digits (sha512: 128). */
export type Digest = string & { readonly __brand: "Digest" };

const pattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new OneholdError("corrupt", `${JSON.stringify(text)} is not a digest (sha256: and 64 hex digits)`);
}

/** The hex digits alone. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

export function sha256Digest(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}

/** As much of it as people can tell apart: 12 hex digits, as podman prints. */
export function shortDigest(digest: Digest): string {
  return hexOf(digest).slice(0, 12);
}
