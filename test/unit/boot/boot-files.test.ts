import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { OneholdError } from "#base/errors.ts";
import { staterootOfLink, parseDeploymentName } from "#boot/deployment-name.ts";
import { kernelArgument, splitKernelArguments } from "#boot/kernel-arguments.ts";
import { type Origin, parseOrigin } from "#boot/origin.ts";
import { parseStaged } from "#boot/staged.ts";
import { array } from "#formats/gvariant.ts";
import { serializeMetadata } from "#formats/ostree-metadata.ts";
import { Mutator } from "../formats/mutations.ts";

const plain: Origin = { image: null, refspec: null, pinned: false, hotfix: false, changedLocally: false };

describe("origins", () => {
  const forms: Readonly<Record<string, Origin["image"]>> = {
    "ostree-unverified-registry:quay.io/os:1": {
      verification: "unverified",
      transport: "registry",
      name: "quay.io/os:1",
    },
    "ostree-unverified-image:registry:quay.io/os:1": {
      verification: "unverified",
      transport: "registry",
      name: "quay.io/os:1",
    },
    "ostree-unverified-image:docker://quay.io/os:1": {
      verification: "unverified",
      transport: "registry",
      name: "quay.io/os:1",
    },
    "ostree-image-signed:containers-storage:localhost/os": {
      verification: "containerPolicy",
      transport: "containers-storage",
      name: "localhost/os",
    },
    "ostree-remote-image:fedora:oci:/srv/os:tag": {
      verification: { ostreeRemote: "fedora" },
      transport: "oci",
      name: "/srv/os:tag",
    },
    "ostree-remote-registry:fedora:quay.io/os@sha256:00": {
      verification: { ostreeRemote: "fedora" },
      transport: "registry",
      name: "quay.io/os@sha256:00",
    },
  };
  for (const [text, image] of Object.entries(forms)) {
    test(text, () => {
      assert.deepEqual(parseOrigin(`[origin]\ncontainer-image-reference=${text}\n`, "x"), { ...plain, image });
    });
  }

  test("what is refused, with the file's name", () => {
    const wrong = ["", "quay.io/os:1", "ostree-unverified-image:quay.io/os", "ostree-unverified-registry:"];
    for (const text of [...wrong, "ostree-remote-image:a", "ostree-remote-registry::b", "ostree-image-signed:sif:a"]) {
      const origin = `[origin]\ncontainer-image-reference=${text}\n`;
      assert.throws(() => parseOrigin(origin, "/a.origin"), { code: "corrupt", message: /^\/a\.origin names/ }, text);
    }
  });

  test("what else they say", () => {
    assert.deepEqual(parseOrigin("", "x"), plain);
    const text = "[origin]\nrefspec=fedora:fedora/stable\nunlocked=hotfix\n[libostree-transient]\npinned=true\n";
    assert.deepEqual(parseOrigin(text, "x"), { ...plain, refspec: "fedora:fedora/stable", pinned: true, hotfix: true });
    for (const group of ["rpmostree", "packages", "overrides", "modules"]) {
      assert.equal(parseOrigin(`[${group}]\nany=thing\n`, "x").changedLocally, true);
    }
  });
});

test("kernel arguments: quotes hold blanks together, the last of a key counts", () => {
  const args = splitKernelArguments(' a  b="c d" ostree=/1 x="\tostree=/no" ostree="/2 3" "e f"=g end" \n');
  assert.deepEqual(args, ["a", 'b="c d"', "ostree=/1", 'x="\tostree=/no"', 'ostree="/2 3"', '"e f"=g', 'end" \n']);
  assert.equal(kernelArgument(args, "ostree"), "/2 3");
  assert.equal(kernelArgument(args, "a"), undefined);
});

test("names of deployments, and of the links to them", () => {
  const checksum = "a".repeat(64);
  assert.deepEqual(parseDeploymentName(`${checksum}.12`), { checksum, serial: 12 });
  for (const name of [checksum, `${checksum}.`, `${checksum}.x`, `${checksum}.1.origin`, "..", `../${checksum}.1`]) {
    assert.equal(parseDeploymentName(name), undefined, name);
  }
  assert.equal(staterootOfLink(`/ostree/boot.1/default/${checksum}/0`), "default");
  for (const stateroot of ["", ".", "..", "a/b", "a\0b"]) {
    assert.equal(staterootOfLink(`/ostree/boot.1/${stateroot}/${checksum}/0`), undefined, stateroot);
  }
});

function readOrRefused(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof OneholdError, String(error));
  }
}

test("whatever is in an origin or in the record of a staged deployment, it is read or refused", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: "binary" }).map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const text = Buffer.from(input).toString("latin1");
      readOrRefused(() => parseStaged(Buffer.from(input), "x"));
      readOrRefused(() => parseOrigin(text, "x"));
      readOrRefused(() => parseOrigin(`[origin]\ncontainer-image-reference=${text}`, "x"));
      splitKernelArguments(text);
    }),
  );
});

describe("the record of a staged deployment", () => {
  const target = serializeMetadata([
    { key: "name", type: "s", value: `${"a".repeat(64)}.1` },
    { key: "osname", type: "s", value: "default" },
    { key: "bootcsum", type: "s", value: "b".repeat(64) },
  ]);
  const words = ["quiet", "ostree=/x"].map((word) => Buffer.from(`${word}\0`));
  const bytes = serializeMetadata([
    { key: "target", type: "other", signature: "a{sv}", value: target },
    { key: "kargs", type: "other", signature: "as", value: array(words, 1) },
    { key: "locked", type: "b", value: true },
  ]);

  test("is read", () => {
    assert.deepEqual(parseStaged(bytes, "x"), {
      stateroot: "default",
      checksum: "a".repeat(64),
      serial: 1,
      kernelArguments: ["quiet", "ostree=/x"],
      locked: true,
    });
  });

  test("damaged at random, it is read or refused", (t) => {
    const seed = Date.now() & 0xffff_ffff;
    t.diagnostic(`seed ${seed}`);
    const mutator = new Mutator(seed);
    for (let round = 0; round < 2000; round++) readOrRefused(() => parseStaged(mutator.mutate(bytes), "x"));
  });
});
