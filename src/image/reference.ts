import { resolve } from "node:path";
import { type Digest, isDigest } from "#base/digest.ts";
import { OneholdError } from "#base/errors.ts";

/** Where an image is: a registry, a folder or archive with an image layout, or root's own podman store. */
export type Transport = "registry" | "oci" | "oci-archive" | "dir" | "containers-storage";

export interface ImageReference {
  readonly transport: Transport;
  /**
   * `registry` and `containers-storage`: with host, and tag or digest (`localhost:5000/os:1`). `oci` and
   * `oci-archive`: an absolute path, and `:TAG` where one was given. `dir`: an absolute path.
   */
  readonly name: string;
}

/** The parts of a registry name. Where it has a digest, the tag says nothing and is dropped. */
export interface RegistryName {
  readonly host: string;
  /** With the host: `localhost:5000/os`. */
  readonly repository: string;
  readonly version: { readonly tag: string } | { readonly digest: Digest };
}

/**
 * What a user writes: `docker://NAME` and `registry:NAME` (the same), `oci:PATH[:TAG]`, `oci-archive:PATH[:TAG]`,
 * `dir:PATH`, `containers-storage:NAME`, or a plain NAME of a registry. Names are normalised as podman does, so
 * that two spellings of an image are one. Paths are taken from the current directory. Throws "usage".
 */
export function parseReference(text: string): ImageReference {
  const [prefix, rest] = splitOnce(text, ":");
  if (rest !== undefined) {
    switch (prefix) {
      case "registry":
        return registryReference(rest, text);
      case "docker":
        if (!rest.startsWith("//"))
          throw malformed(text, "docker: is followed by two slashes", `Write docker://${rest}`);
        return registryReference(rest.slice(2), text);
      case "containers-storage":
        return { transport: "containers-storage", name: normalize(rest, text) };
      case "oci":
      case "oci-archive":
        return { transport: prefix, name: absoluteLayoutName(rest, text) };
      case "dir":
        return { transport: "dir", name: absolutePath(rest, text) };
    }
    if (foreignTransport.test(prefix))
      throw malformed(text, `images of the transport ${prefix} are not supported`, transportsHint);
  }
  return registryReference(text, text);
}

/** As podman and skopeo take it. */
export function formatReference({ transport, name }: ImageReference): string {
  return transport === "registry" ? `docker://${name}` : `${transport}:${name}`;
}

/**
 * The name that an image gets in the image store. An image from a file has none of its own: its path and tag
 * make one below localhost/, in the characters that such a name may have.
 */
export function storedName(reference: ImageReference): string {
  const { transport, name } = reference;
  if (transport === "registry" || transport === "containers-storage") return name;
  const { path, tag } = transport === "dir" ? { path: name, tag: undefined } : parseLayoutName(name);
  const components = path
    .toLowerCase()
    .split("/")
    .map((component) => component.replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, ""));
  const repository = components
    .filter((component) => component !== "")
    .join("/")
    .slice(-200)
    .replace(/^[/-]+/, "");
  const safeTag = (tag ?? "")
    .replace(/[^\w.-]/g, "_")
    .replace(/^[.-]/, "_")
    .slice(-128);
  return `localhost/${repository === "" ? "image" : repository}:${safeTag === "" ? "latest" : safeTag}`;
}

/** Takes a normalised name of a registry (or of podman's store) apart. */
export function parseRegistryName(name: string): RegistryName {
  const parsed = parseName(name);
  if (typeof parsed === "string") throw malformed(name, parsed);
  return parsed;
}

/** The path and the tag of an `oci` or `oci-archive` name. As in podman, a path has no colon. */
export function parseLayoutName(name: string): { path: string; tag: string | undefined } {
  const [path, tag] = splitOnce(name, ":");
  return { path, tag };
}

const transportsHint =
  "Onehold takes docker://NAME, registry:NAME, oci:PATH:TAG, oci-archive:PATH:TAG, dir:PATH, containers-storage:NAME, or a registry's NAME alone.";
/** Transports of podman, bootc and ostree that could be mistaken for a registry's name. */
const foreignTransport = /^(?:docker-archive|docker-daemon|sif|tarball|atomic|ostree(?:-[a-z-]+)?|https?)$/;

// The grammar of names is that of the distribution project, which all container programs share.
const hostPattern =
  /^(?:(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]+)?$/i;
const componentPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;

function registryReference(name: string, text: string): ImageReference {
  return { transport: "registry", name: normalize(name, text) };
}

function normalize(name: string, text: string): string {
  const parsed = parseName(name);
  if (typeof parsed === "string") throw malformed(text, parsed, hintFor(name));
  const { repository, version } = parsed;
  return "digest" in version ? `${repository}@${version.digest}` : `${repository}:${version.tag}`;
}

/** The parts, or what is wrong with the name. */
function parseName(name: string): RegistryName | string {
  const [tagged, digest] = splitOnce(name, "@");
  if (digest !== undefined && !isDigest(digest))
    return `${JSON.stringify(digest)} is not a digest (sha256: and 64 hex digits)`;
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  const [untagged, tag] = colon < 0 ? [tagged, undefined] : [tagged.slice(0, colon), tagged.slice(colon + 1)];
  if (tag !== undefined && !tagPattern.test(tag)) return `${JSON.stringify(tag)} is not a tag`;
  const [host, path] = splitOnce(untagged, "/");
  if (path === undefined || !isHost(host)) return "the name does not say which registry has the image";
  const bad = path.split("/").find((component) => !componentPattern.test(component));
  if (bad !== undefined)
    return `${JSON.stringify(bad)} can't be part of a repository's name (lower-case letters, digits, and . _ - between them)`;
  const repository = repositoryOf(host, path);
  if (repository.length > 255) return "the name is longer than 255 characters";
  return {
    host: repository.slice(0, repository.indexOf("/")),
    repository,
    version: digest === undefined ? { tag: tag ?? "latest" } : { digest },
  };
}

/** Docker Hub has a second name, and its official images are in a namespace that nobody writes. */
function repositoryOf(host: string, path: string): string {
  const canonical = host === "index.docker.io" ? "docker.io" : host;
  return canonical === "docker.io" && !path.includes("/") ? `docker.io/library/${path}` : `${canonical}/${path}`;
}

/** A dot, a port or `localhost` tells a host from the first part of a short name. */
function isHost(text: string): boolean {
  return hostPattern.test(text) && (/[.:]/.test(text) || text === "localhost");
}

function hintFor(name: string): string | undefined {
  const parsed = parseName(`docker.io/${name}`);
  if (typeof parsed === "string") return undefined;
  return `Write the name with its registry, as in docker.io/${name} or, for an image that was built here, localhost/${name}.`;
}

function absoluteLayoutName(name: string, text: string): string {
  const { path, tag } = parseLayoutName(name);
  const absolute = absolutePath(path, text);
  if (absolute.includes(":")) throw malformed(text, `podman can't take images from ${absolute}: the path has a colon`);
  return tag === undefined || tag === "" ? absolute : `${absolute}:${tag}`;
}

function absolutePath(path: string, text: string): string {
  if (path === "") throw malformed(text, "it has no path", transportsHint);
  if (path.includes("\0")) throw malformed(text, "a path has no NUL");
  return resolve(path);
}

function malformed(text: string, why: string, hint?: string): OneholdError {
  return new OneholdError("usage", `${JSON.stringify(text)} is not the name of an image: ${why}`, {
    subject: text,
    ...(hint === undefined ? {} : { hint }),
  });
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
