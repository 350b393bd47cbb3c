import { OneholdError } from "#base/errors.ts";
import { type Keyfile, parseKeyfile } from "#formats/keyfile.ts";

/** How an image of a host is verified when it is fetched: by an ostree remote's key, by the container policy, or not at all. */
export type Verification = { readonly ostreeRemote: string } | "containerPolicy" | "unverified";

/** The image that a deployment follows, with what ostree-ext calls its signature source. */
export interface OriginImage {
  readonly verification: Verification;
  /** As bootc writes it: `registry`, `oci`, `oci-archive`, `dir`, `containers-storage` … */
  readonly transport: string;
  /** Of a registry: without `docker://`. */
  readonly name: string;
}

/** What the origin file of a deployment says. */
export interface Origin {
  /** `null`: the deployment follows no container image. */
  readonly image: OriginImage | null;
  /** What a plain ostree deployment follows. */
  readonly refspec: string | null;
  readonly pinned: boolean;
  /** Somebody made its /usr writable for good (`ostree admin unlock --hotfix`). */
  readonly hotfix: boolean;
  /** rpm-ostree has changed the deployment (layered packages and the like): bootc and Onehold leave it alone. */
  readonly changedLocally: boolean;
}

/** @throws OneholdError "corrupt", naming `subject`, the file */
export function parseOrigin(text: string, subject: string): Origin {
  const keyfile = parseKeyfile(text, subject);
  const reference = keyfile.get("origin", "container-image-reference");
  return {
    image: reference === undefined ? null : parseOriginImage(reference.trimEnd(), subject),
    refspec: (keyfile.get("origin", "refspec") ?? keyfile.get("origin", "baserefspec"))?.trimEnd() ?? null,
    pinned: keyfile.boolean("libostree-transient", "pinned") ?? false,
    hotfix: keyfile.get("origin", "unlocked")?.trimEnd() === "hotfix",
    changedLocally: isChangedLocally(keyfile),
  };
}

/** By the same groups of keys as bootc. */
function isChangedLocally(keyfile: Keyfile): boolean {
  return keyfile.groups().some((group) => ["rpmostree", "packages", "overrides", "modules"].includes(group));
}

/**
 * An image reference with the prefix that says how it is verified (ostree-ext): `ostree-unverified-registry:NAME`,
 * `ostree-unverified-image:TRANSPORT:NAME`, `ostree-image-signed:TRANSPORT:NAME`,
 * `ostree-remote-image:REMOTE:TRANSPORT:NAME`, `ostree-remote-registry:REMOTE:NAME`.
 * @throws OneholdError "corrupt", naming `subject`, the file that it stands in
 */
export function parseOriginImage(text: string, subject: string): OriginImage {
  const [prefix, rest] = splitOnce(text);
  const malformed = (why: string) =>
    new OneholdError("corrupt", `${subject} names the image ${JSON.stringify(text)}: ${why}`, { subject });
  const parseImage = (reference: string, verification: Verification): OriginImage => {
    const [transport, name] = splitOnce(reference);
    const known = transport === "docker" ? "registry" : transport;
    if (!transports.has(known)) throw malformed(`the transport ${JSON.stringify(transport)} is not known`);
    const plain = transport === "docker" && name.startsWith("//") ? name.slice(2) : name;
    if (plain === "") throw malformed("it has no name");
    return { verification, transport: known, name: plain };
  };
  switch (prefix) {
    case "ostree-unverified-registry":
      return parseImage(`registry:${rest}`, "unverified");
    case "ostree-unverified-image":
      return parseImage(rest, "unverified");
    case "ostree-image-signed":
      return parseImage(rest, "containerPolicy");
    case "ostree-remote-image":
    case "ostree-remote-registry": {
      const [ostreeRemote, image] = splitOnce(rest);
      if (ostreeRemote === "") throw malformed("it has no name of a remote");
      return parseImage(prefix === "ostree-remote-image" ? image : `registry:${image}`, { ostreeRemote });
    }
    default:
      throw malformed("it does not begin with how the image is verified (ostree-unverified-registry: and so on)");
  }
}

const transports: ReadonlySet<string> = new Set([
  "registry",
  "oci",
  "oci-archive",
  "docker-archive",
  "docker-daemon",
  "containers-storage",
  "dir",
]);

function splitOnce(text: string): [string, string] {
  const at = text.indexOf(":");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
