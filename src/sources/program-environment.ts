/** What of our environment podman and skopeo get: how to reach the network, and nothing that changes what they do. */
const inherited = ["PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ"];

/** By convention a folder that never exists: nothing of a user's home counts in a pull for the host. */
const noHome = "/nonexistent";

/** The descriptor on which podman and skopeo find the credentials. 3 is the run root (see StoreAlias). */
export const credentialsFd = 4;

/**
 * The environment for podman and skopeo. No STORAGE_OPTS, XDG_ or CONTAINERS_ variable of the user's gets in;
 * policy and registries are those of /etc/containers.
 */
export function programEnvironment(additions: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    LC_ALL: "C.UTF-8",
    HOME: noHome,
    REGISTRY_AUTH_FILE: `/proc/self/fd/${credentialsFd}`,
  };
  for (const name of [...inherited, ...inherited.map((variable) => variable.toLowerCase())]) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return { ...environment, PODMAN_IGNORE_CGROUPSV1_WARNING: "1", ...additions };
}
