import { createHash } from "node:crypto";
import { storedName } from "#image/reference.ts";
import { run } from "#linux/child.ts";
import { inWordsOf } from "./failure.ts";
import { sourceArgument } from "./inspect-remote.ts";
import type { PreparedPull } from "./prepared-pull.ts";
import { aliasSpecifier } from "./store-alias.ts";

/** Copies an image from anywhere into the image store; returns its ID. */
export async function copyWithSkopeo(pull: PreparedPull): Promise<string> {
  const { reference, tlsVerify, temporary } = pull;
  const tls = tlsVerify === undefined || reference.transport !== "registry" ? [] : [`--src-tls-verify=${tlsVerify}`];
  // A store has no compressed blobs any more. skopeo copies the layers as they are and writes a manifest for
  // these, next to the image's own, which stays its digest; signatures are for neither.
  const exact = reference.transport === "containers-storage" ? ["--remove-signatures"] : ["--preserve-digests"];
  const destination = `containers-storage:${aliasSpecifier}${storedName(reference)}`;
  const options = ["--quiet", ...exact, ...tls];
  await skopeo(pull, ["--tmpdir", temporary, "copy", ...options, sourceArgument(reference), destination]);
  // An image's ID is the digest of its config.
  const config = await skopeo(pull, ["inspect", "--config", "--raw", destination]);
  return createHash("sha256").update(config).digest("hex");
}

async function skopeo({ reference, surroundings, signal }: PreparedPull, args: readonly string[]): Promise<Buffer> {
  const options = { ...surroundings, signal, maxOutput: 8 * 1024 * 1024 };
  const { stdout } = await inWordsOf(reference.name, run("skopeo", args, options));
  return stdout;
}
