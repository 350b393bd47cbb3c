import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { finalWords, fullWords, pullFailure } from "#sources/failure.ts";

// Words of podman 4.3 and 5.8, skopeo 1.9 and 1.22, as they came.
const said: readonly [words: string, code: string, message: RegExp, hint: RegExp][] = [
  [
    "initializing source docker://127.0.0.1:5811/t/os:nope: reading manifest nope in 127.0.0.1:5811/t/os: manifest unknown: manifest unknown",
    "pull-failed",
    /no such image: .*nope/,
    /name and the tag/,
  ],
  [
    "reading manifest 1 in 127.0.0.1:5812/t/os: unauthorized: authentication required",
    "pull-failed",
    /refuses access/,
    /etc\/ostree\/auth\.json/,
  ],
  [
    'pinging container registry 127.0.0.1:5811: Get "https://127.0.0.1:5811/v2/": http: server gave HTTP response to HTTPS client',
    "pull-failed",
    /does not speak TLS/,
    /--tls-verify=false/,
  ],
  [
    'Get "https://localhost:5/v2/": x509: certificate signed by unknown authority',
    "pull-failed",
    /certificate/,
    /certs\.d/,
  ],
  ["dial tcp 127.0.0.1:5999: connect: connection refused", "pull-failed", /can't be reached/, /try again/],
  ["happened during read: unexpected EOF", "pull-failed", /connection broke/, /try again/],
  [
    "Source image rejected: Running image docker://a/b:1 is rejected by policy.",
    "pull-failed",
    /policy of this host/,
    /policy\.json/,
  ],
  [
    'writing blob: storing blob to file "/x/1": write /x/1: no space left on device',
    "no-space",
    /disk is full/,
    /Make room/,
  ],
  [
    "copying layer: writing blob: storing blob to file: Digest did not match, expected sha256:a, got sha256:b",
    "corrupt",
    /not what the manifest/,
    /damaged/,
  ],
  [
    "processing tar file(link /lower /upper: no such file or directory): exit status 1",
    "corrupt",
    /can't be unpacked.*link \/lower/,
    /hardlink/,
  ],
];

describe("why a pull failed", () => {
  for (const [words, code, message, hint] of said) {
    test(words.slice(0, 60), () => {
      const failure = pullFailure("quay.io/os:1", words);
      assert.equal(failure.code, code);
      assert.match(failure.message, /^quay\.io\/os:1 was not pulled: /);
      assert.match(failure.message, message);
      assert.ok(failure.message.endsWith(words), failure.message);
      assert.match(failure.hint ?? "", hint);
    });
  }

  test("unknown words are passed on, without what would steer a terminal", () => {
    const failure = pullFailure("os", `something \u001b[31mred\r\n${"x".repeat(5000)}`);
    assert.match(failure.message, /^os was not pulled: something  ?\[31mred x+$/);
    assert.ok(failure.message.length < 1100);
    assert.equal(failure.hint, undefined);
  });
});

describe("what a program said last", () => {
  test("podman", () => {
    assert.equal(finalWords("Trying to pull a/b...\nError: initializing source: no\n"), "initializing source: no");
  });
  test("skopeo", () => {
    const log =
      'time="2026-11-22T23:49:02Z" level=info msg="x"\ntime="2026-11-22T23:49:02Z" level=fatal msg="Get \\"https://a/\\": no"\n';
    assert.equal(finalWords(log), 'Get "https://a/": no');
  });
  test("nothing", () => assert.equal(finalWords("\n"), "it did not say why"));
  test("podman 5 shortens errors; its log has the whole", () => {
    const log =
      'time="2026" level=warning msg="Failed, retrying in 1s ... (1/3). Error: dial tcp 127.0.0.1:5: connect: connection refused"\n';
    assert.equal(fullWords("connection refused", log), "dial tcp 127.0.0.1:5: connect: connection refused");
    assert.equal(fullWords("manifest unknown", log), "manifest unknown");
  });
});
