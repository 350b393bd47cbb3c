import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { readAuthFile } from "#sources/auth-file.ts";

function withRoot<T>(files: Readonly<Record<string, string>>, run: (root: string) => T): T {
  const root = mkdtempSync(join(tmpdir(), "onehold-auth-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), content);
    }
    return run(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

const auth = (user: string) => JSON.stringify({ auths: { "quay.io": { auth: user } } });

describe("the file of credentials", () => {
  test("is the first of bootc's three", () => {
    const files = {
      "run/ostree/auth.json": auth("run"),
      "etc/ostree/auth.json": auth("etc"),
      "usr/lib/ostree/auth.json": auth("usr"),
    };
    assert.equal(withRoot(files, readAuthFile), auth("run"));
    const { "run/ostree/auth.json": _, ...withoutRun } = files;
    assert.equal(withRoot(withoutRun, readAuthFile), auth("etc"));
    assert.equal(withRoot({ "usr/lib/ostree/auth.json": auth("usr") }, readAuthFile), auth("usr"));
  });

  test("is none of podman's or docker's", () => {
    const files = {
      "run/containers/0/auth.json": auth("a"),
      "root/.docker/config.json": auth("b"),
      "etc/containers/auth.json": auth("c"),
    };
    assert.equal(withRoot(files, readAuthFile), undefined);
  });

  test("may be a symlink", () => {
    const read = (root: string) => {
      mkdirSync(join(root, "etc/ostree"), { recursive: true });
      symlinkSync("../../secret", join(root, "etc/ostree/auth.json"));
      return readAuthFile(root);
    };
    assert.equal(withRoot({ secret: auth("linked") }, read), auth("linked"));
  });

  test("is not skipped where it can't be used, and its content is not shown", () => {
    const wrong = [
      '{"auths": {"quay.io": {"auth": "c2VjcmV0"}',
      "[]",
      '{"auths": []}',
      '{"auths": {"quay.io": {"auth": 5}}}',
      "",
    ];
    for (const content of wrong) {
      const files = { "run/ostree/auth.json": content, "etc/ostree/auth.json": auth("etc") };
      assert.throws(
        () => withRoot(files, readAuthFile),
        (error) => {
          assert.ok(error instanceof OneholdError);
          assert.equal(error.code, "pull-failed");
          assert.match(error.message, /run\/ostree\/auth\.json can't be used/);
          assert.doesNotMatch(`${error.message}${String(error.cause)}`, /c2VjcmV0/);
          return true;
        },
      );
    }
  });

  test("can't be a folder", () => {
    assert.throws(() => withRoot({ "run/ostree/auth.json/x": "" }, readAuthFile), /auth\.json can't be used.*EISDIR/);
  });
});
