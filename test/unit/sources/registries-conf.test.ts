import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "smol-toml";
import { OneholdError } from "#base/errors.ts";
import { tlsVerifyDropIn } from "#sources/registries-conf.ts";

/** The drop-in for a host with these files below /etc/containers. */
function dropIn(files: Readonly<Record<string, string>>, name: string, tlsVerify: boolean): unknown {
  const root = mkdtempSync(join(tmpdir(), "onehold-registries-"));
  try {
    mkdirSync(join(root, "etc/containers/registries.conf.d"), { recursive: true });
    for (const [file, content] of Object.entries(files)) writeFileSync(join(root, "etc/containers", file), content);
    const value = parse(tlsVerifyDropIn(name, tlsVerify, root));
    // Without the parser's own prototypes.
    return JSON.parse(JSON.stringify(value));
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("the drop-in for --tls-verify", () => {
  test("a host without configuration gets a table for the registry", () => {
    assert.deepEqual(dropIn({}, "localhost:5000/os:1", false), {
      registry: [{ location: "localhost:5000", insecure: true }],
    });
    assert.deepEqual(dropIn({}, "quay.io/os:1", true), { registry: [{ location: "quay.io", insecure: false }] });
  });

  test("the table in force is kept, with its mirrors", () => {
    const conf = `
      unqualified-search-registries = ["docker.io"]
      [[registry]]
      prefix = "quay.io/fedora"
      location = "mirror.example/fedora"
      mirror-by-digest-only = true
      [[registry.mirror]]
      location = "localhost:5000/fedora"
      pull-from-mirror = "all"
      [[registry]]
      location = "quay.io"
      blocked = true`;
    assert.deepEqual(dropIn({ "registries.conf": conf }, "quay.io/fedora/os:1", false), {
      registry: [
        {
          prefix: "quay.io/fedora",
          location: "mirror.example/fedora",
          "mirror-by-digest-only": true,
          insecure: true,
          mirror: [{ location: "localhost:5000/fedora", "pull-from-mirror": "all", insecure: true }],
        },
      ],
    });
    // The prefix ends where a part of the name ends.
    assert.deepEqual(dropIn({ "registries.conf": conf }, "quay.io/fedora-ci/os:1", false), {
      registry: [{ location: "quay.io", blocked: true, insecure: true }],
    });
  });

  test("a later drop-in of the host's replaces an earlier table, and in one file the first counts", () => {
    const table = (location: string) => `[[registry]]\nprefix = "quay.io"\nlocation = "${location}"\n`;
    const files = {
      "registries.conf": table("main.example"),
      "registries.conf.d/20.conf": table("twenty.example") + table("never.example"),
      "registries.conf.d/10.conf": table("ten.example"),
      "registries.conf.d/30.conf.off": table("off.example"),
    };
    assert.deepEqual(dropIn(files, "quay.io/os:1", true), {
      registry: [{ prefix: "quay.io", location: "twenty.example", insecure: false }],
    });
  });

  test("a wildcard stands for subdomains", () => {
    const conf = `[[registry]]\nprefix = "*.example.com"\nmirror = [{location = "localhost:1/x"}]\n`;
    assert.deepEqual(dropIn({ "registries.conf": conf }, "a.b.example.com:443/os:1", false), {
      registry: [{ prefix: "*.example.com", insecure: true, mirror: [{ location: "localhost:1/x", insecure: true }] }],
    });
    assert.deepEqual(dropIn({ "registries.conf": conf }, "badexample.com/os:1", false), {
      registry: [{ location: "badexample.com", insecure: true }],
    });
  });

  test("the old form of the file still says what is blocked", () => {
    const conf = `[registries.insecure]\nregistries = ["a.example"]\n[registries.block]\nregistries = ["b.example"]\n`;
    assert.deepEqual(dropIn({ "registries.conf": conf }, "b.example/os:1", false), {
      registry: [{ location: "b.example", insecure: true, blocked: true }],
    });
  });

  test("a file that is not TOML, or of another form, is named", () => {
    for (const conf of ["[[registry", "registry = 1", "[[registry]]\nlocation = 5"]) {
      assert.throws(
        () => dropIn({ "registries.conf.d/x.conf": conf }, "quay.io/os:1", true),
        (error) => error instanceof OneholdError && /registries\.conf\.d\/x\.conf can't be used/.test(error.message),
      );
    }
  });
});
