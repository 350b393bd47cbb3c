import { storedName } from "#image/reference.ts";
import { parseManifest } from "#formats/oci.ts";
import { hexOf } from "#base/digest.ts";
import { ProgramError, run } from "#linux/child.ts";
import { finalWords, pullFailure } from "./failure.ts";
import { sourceArgument } from "./inspect-remote.ts";
import type { PreparedPull } from "./prepared-pull.ts";
import { aliasSpecifier } from "./store-alias.ts";

/** Copies an image from anywhere into the image store; returns its ID. */
export async function copyWithSkopeo(pull: PreparedPull): Promise<string> {
  const { reference, tlsVerify, temporary } = pull;
  const tls = tlsVerify === undefined || reference.transport !== "registry" ? [] : [`--src-tls-verify=${tlsVerify}`];
  // A store has no compressed blobs any more: from there, the manifest says other things than the layers are (see below).
  const exact = reference.transport === "containers-storage" ? ["--remove-signatures"] : ["--preserve-digests"];
  const destination = `containers-storage:${aliasSpecifier}${storedName(reference)}`;
  await skopeo(pull, [
    "--tmpdir",
    temporary,
    "copy",
    "--quiet",
    ...exact,
    ...tls,
    sourceArgument(reference),
    destination,
  ]);
  const manifest = parseManifest(await skopeo(pull, ["--tmpdir", temporary, "inspect", "--raw", destination]));
  return hexOf(manifest.config.digest);
}

async function skopeo({ reference, surroundings, signal }: PreparedPull, args: readonly string[]): Promise<Buffer> {
  try {
    const { stdout } = await run("skopeo", args, { ...surroundings, signal, maxOutput: 8 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    if (error instanceof ProgramError) throw pullFailure(reference.name, finalWords(error.stderr), error);
    throw error;
  }
}
