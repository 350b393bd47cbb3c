import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Digest, hexOf, sha256Digest } from "#base/digest.ts";
import { unreachable } from "#base/errors.ts";
import { isIndex, type Manifest, parseIndex, parseManifest, type Platform } from "#formats/oci.ts";
import { formatReference, type ImageReference, parseLayoutName, parseRegistryName } from "#image/reference.ts";
import { findProgram, run } from "#linux/child.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { openCredentials } from "./auth-file.ts";
import { inWordsOf, pullFailure } from "./failure.ts";
import { credentialsFd, programEnvironment } from "./program-environment.ts";
import type { AnnouncedBlob } from "./pull-progress.ts";

/** An image as its source announces it, for the platform of this machine. */
export interface RemoteManifest {
  readonly digest: Digest;
  /** As the source sent them: `digest` is theirs. */
  readonly bytes: Buffer;
  readonly manifest: Manifest;
  /** Of the list of manifests that named this one, where there is one. */
  readonly indexDigest: Digest | undefined;
  /** Layers and config, each once, in the manifest's order. */
  readonly blobs: readonly AnnouncedBlob[];
  /** The sum of their sizes in bytes, compressed as the source has them. */
  readonly size: number;
}

export interface InspectOptions {
  /** Undefined: as registries.conf says. */
  readonly tlsVerify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where the host's configuration is, for tests. */
  readonly root?: string | undefined;
}

/**
 * Asks the source for the manifest and fetches nothing else; needs no mount namespace. Undefined where skopeo is
 * not installed, which alone can do it, and for a list of manifests in an archive. Throws "pull-failed" (no such
 * image, no access, no answer, no image for this platform), "corrupt", "interrupted".
 */
export async function inspectRemote(
  reference: ImageReference,
  options: InspectOptions = {},
): Promise<RemoteManifest | undefined> {
  if (findProgram("skopeo") === undefined) return undefined;
  const bytes = await fetchManifest(reference, options);
  if (!isIndex(bytes)) return remoteManifest(reference, bytes, undefined);
  const digest = chooseManifest(bytes, reference);
  const chosen = await fetchListed(reference, digest, options);
  if (chosen === undefined) return undefined;
  if (digestOf(chosen) !== digest)
    throw pullFailure(reference.name, `the source sent another manifest than ${digest}: digest did not match`);
  return remoteManifest(reference, chosen, digestOf(bytes));
}

/** The config of an image whose manifest was asked for, checked against it. Throws as `inspectRemote`. */
export async function fetchConfig(
  reference: ImageReference,
  { digest, manifest }: RemoteManifest,
  options: InspectOptions = {},
): Promise<Buffer> {
  const { transport, name } = reference;
  const exact =
    transport === "registry" ? { transport, name: `${parseRegistryName(name).repository}@${digest}` } : reference;
  const config = await inspect(exact, ["--config"], options);
  if (digestOf(config) === manifest.config.digest) return config;
  throw pullFailure(name, `the source sent another config than ${manifest.config.digest}: digest did not match`);
}

/** skopeo's name of root's own store. Its additional stores don't count: what is copied must be whole there. */
const defaultStoreSpecifier = "[overlay@/var/lib/containers/storage+/run/containers/storage]";

/** How skopeo names the place to take the image from. */
export function sourceArgument(reference: ImageReference): string {
  return reference.transport === "containers-storage"
    ? `containers-storage:${defaultStoreSpecifier}${reference.name}`
    : formatReference(reference);
}

function remoteManifest(reference: ImageReference, bytes: Buffer, indexDigest: Digest | undefined): RemoteManifest {
  const digest = digestOf(bytes);
  const version = reference.transport === "registry" ? parseRegistryName(reference.name).version : undefined;
  if (version !== undefined && "digest" in version && version.digest !== (indexDigest ?? digest)) {
    throw pullFailure(
      reference.name,
      `the registry sent a manifest with the digest ${indexDigest ?? digest}: digest did not match`,
    );
  }
  const manifest = parseManifest(bytes);
  const blobs = new Map<Digest, AnnouncedBlob>();
  for (const layer of manifest.layers)
    blobs.set(layer.digest, { kind: "layer", digest: layer.digest, size: layer.size });
  blobs.set(manifest.config.digest, { kind: "config", digest: manifest.config.digest, size: manifest.config.size });
  const size = blobs.values().reduce((sum, blob) => sum + blob.size, 0);
  return { digest, bytes, manifest, indexDigest, blobs: [...blobs.values()], size };
}

function fetchManifest(reference: ImageReference, options: InspectOptions): Promise<Buffer> {
  return inspect(reference, [], options);
}

async function inspect(
  reference: ImageReference,
  what: readonly string[],
  { tlsVerify, signal, root }: InspectOptions,
): Promise<Buffer> {
  using credentials = openCredentials(root);
  const tls = tlsVerify === undefined || reference.transport !== "registry" ? [] : [`--tls-verify=${tlsVerify}`];
  const skopeo = run("skopeo", ["inspect", "--raw", ...what, ...tls, sourceArgument(reference)], {
    env: programEnvironment(),
    extraFds: { [credentialsFd]: credentials.fd },
    maxOutput: 8 * 1024 * 1024,
    ...(signal === undefined ? {} : { signal }),
  });
  const { stdout } = await inWordsOf(reference.name, skopeo);
  return stdout;
}

/** One manifest of a list. skopeo finds none by digest in a file: there we look ourselves. */
async function fetchListed(
  reference: ImageReference,
  digest: Digest,
  options: InspectOptions,
): Promise<Buffer | undefined> {
  const { transport, name } = reference;
  switch (transport) {
    case "registry":
    case "containers-storage":
      return fetchManifest({ transport, name: `${parseRegistryName(name).repository}@${digest}` }, options);
    case "oci":
      return readListed(join(parseLayoutName(name).path, "blobs", digest.replace(":", "/")));
    case "dir":
      return readListed(join(name, `${hexOf(digest)}.manifest.json`));
    case "oci-archive":
      return undefined;
    default:
      return unreachable(transport);
  }
}

function readListed(path: string): Buffer {
  return withSystemErrors(() => readFileSync(path));
}

/** OCI's name of each processor that Node runs on. */
const architectures: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  ppc64: "ppc64le",
  mipsel: "mipsle",
};

/** As podman chooses: the first that fits; of several variants of a processor the one that each of them runs. */
function chooseManifest(bytes: Buffer, reference: ImageReference): Digest {
  const architecture = architectures[process.arch] ?? process.arch;
  const fitting = parseIndex(bytes).manifests.filter(
    ({ platform }) => platform?.os === "linux" && platform.architecture === architecture,
  );
  const chosen = fitting.find(({ platform }) => isBaseVariant(platform)) ?? fitting[0];
  if (chosen !== undefined) return chosen.digest;
  throw pullFailure(reference.name, `no image found in image index for linux/${architecture}`);
}

function isBaseVariant(platform: Platform | undefined): boolean {
  const variant = platform?.variant ?? "";
  return (
    variant === "" ||
    (platform?.architecture === "arm64" && variant === "v8") ||
    (platform?.architecture === "arm" && variant === "v7")
  );
}

function digestOf(bytes: Buffer): Digest {
  return sha256Digest(createHash("sha256").update(bytes).digest("hex"));
}
