import assert from "node:assert/strict";
import { resolve } from "node:path";
import { describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { formatReference, parseReference, parseRegistryName, storedName } from "#image/reference.ts";

const digest = `sha256:${"ab".repeat(32)}`;

function refused(text: string): OneholdError {
  try {
    parseReference(text);
  } catch (error) {
    assert.ok(error instanceof OneholdError, String(error));
    assert.equal(error.code, "usage");
    assert.equal(error.subject, text);
    return error;
  }
  throw new assert.AssertionError({ message: `${text} was taken` });
}

describe("names of registries", () => {
  for (const [text, name] of [
    ["quay.io/fedora/fedora-bootc:42", "quay.io/fedora/fedora-bootc:42"],
    ["docker://quay.io/fedora/fedora-bootc:42", "quay.io/fedora/fedora-bootc:42"],
    ["registry:quay.io/fedora/fedora-bootc:42", "quay.io/fedora/fedora-bootc:42"],
    ["localhost:5000/os", "localhost:5000/os:latest"],
    ["localhost/os", "localhost/os:latest"],
    ["[::1]:5000/os:1", "[::1]:5000/os:1"],
    ["docker.io/debian", "docker.io/library/debian:latest"],
    ["index.docker.io/debian:12", "docker.io/library/debian:12"],
    ["docker.io/bitnami/redis", "docker.io/bitnami/redis:latest"],
    [`quay.io/os:1@${digest}`, `quay.io/os@${digest}`],
    [`quay.io/os@${digest}`, `quay.io/os@${digest}`],
    ["127.0.0.1:5000/a/b--c/d__e/f.g:V1.2_x-y", "127.0.0.1:5000/a/b--c/d__e/f.g:V1.2_x-y"],
  ] as const) {
    test(text, () => assert.deepEqual(parseReference(text), { transport: "registry", name }));
  }

  test("a normalised name stays as it is", () => {
    for (const text of ["localhost:5000/os:1", `quay.io/os@${digest}`, "docker.io/library/debian:latest"]) {
      assert.equal(parseReference(parseReference(text).name).name, text);
      assert.equal(parseReference(formatReference(parseReference(text))).name, text);
    }
  });

  test("a short name is refused, and the hint tells what could be meant", () => {
    assert.match(refused("debian:12").hint ?? "", /docker\.io\/debian:12.*localhost\/debian:12/);
    assert.match(refused("library/debian").message, /which registry/);
    refused("docker://debian");
  });

  test("what is no name is refused", () => {
    for (const text of [
      "",
      "quay.io/",
      "quay.io/Fedora",
      "quay.io/a//b",
      "quay.io/os:",
      "quay.io/os:a b",
      "quay.io/-os",
    ])
      refused(text);
    for (const text of [`quay.io/os@sha256:abc`, "-quay.io/os", "quay.io/os\n", `quay.io/${"a".repeat(250)}`])
      refused(text);
    // An argument that a program would take for an option.
    refused("--root=/etc");
  });

  test("other transports are named in the refusal", () => {
    assert.match(refused("docker-archive:/srv/a.tar").message, /docker-archive/);
    assert.match(refused("ostree-unverified-registry:quay.io/os:1").message, /ostree-unverified-registry/);
    assert.match(refused("docker:quay.io/os").hint ?? "", /docker:\/\/quay\.io\/os/);
  });

  test("taken apart", () => {
    assert.deepEqual(parseRegistryName("localhost:5000/a/os:1"), {
      host: "localhost:5000",
      repository: "localhost:5000/a/os",
      version: { tag: "1" },
    });
    assert.deepEqual(parseRegistryName(`quay.io/os@${digest}`).version, { digest });
  });
});

describe("images in files and stores", () => {
  test("paths become absolute, tags stay", () => {
    assert.deepEqual(parseReference("oci:images/os:1"), { transport: "oci", name: `${resolve("images/os")}:1` });
    assert.deepEqual(parseReference("oci:/srv/os"), { transport: "oci", name: "/srv/os" });
    assert.deepEqual(parseReference("oci-archive:/srv/os.tar:v1"), {
      transport: "oci-archive",
      name: "/srv/os.tar:v1",
    });
    assert.deepEqual(parseReference("dir:/srv/os/"), { transport: "dir", name: "/srv/os" });
    assert.deepEqual(parseReference("containers-storage:localhost/os"), {
      transport: "containers-storage",
      name: "localhost/os:latest",
    });
  });

  test("as podman and skopeo write them", () => {
    for (const text of [
      "docker://quay.io/os:1",
      "oci:/srv/os:1",
      "oci-archive:/srv/os.tar",
      "dir:/srv/os",
      "containers-storage:localhost/os:1",
    ]) {
      assert.equal(formatReference(parseReference(text)), text);
    }
  });

  test("a path is needed, and a store can't be chosen", () => {
    for (const text of ["oci:", "dir:", "oci::1"]) refused(text);
    refused("containers-storage:[overlay@/srv/storage]localhost/os:1");
  });

  test("get a name in the store that podman takes", () => {
    assert.equal(storedName(parseReference("quay.io/os")), "quay.io/os:latest");
    assert.equal(storedName(parseReference("oci:/srv/Images/my os:v1")), "localhost/srv/images/my-os:v1");
    assert.equal(storedName(parseReference("oci:/srv/os:quay.io/os:1")), "localhost/srv/os:quay.io_os_1");
    assert.equal(storedName(parseReference("dir:/")), "localhost/image:latest");
    for (const path of ["/a/../B__c/.d", "/ü/é", `/${"x".repeat(300)}`, "/a-/-b/..c", `/${"a/".repeat(150)}b`]) {
      const name = storedName({ transport: "dir", name: path });
      assert.equal(parseReference(name).name, name, path);
    }
  });
});
