import assert from "node:assert/strict";
import { mkdirSync, openSync } from "node:fs";
import { describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import { isErrno, SystemError, toSystemError, withSystemErrors } from "#linux/system-error.ts";

describe("a system error", () => {
  test("says what failed, on what and why", () => {
    const error = new SystemError("openat", 2, "/there/is/none");
    assert.equal(error.message, "openat /there/is/none: no such file or directory (ENOENT)");
    assert.equal(error.subject, "/there/is/none");
    assert.equal(error.code, "system");
    assert.equal(error.name, "SystemError");
    assert.ok(error instanceof OneholdError);
  });

  test("has one name where C has two", () => {
    assert.equal(new SystemError("ioctl", 95).errnoName, "EOPNOTSUPP");
    assert.equal(new SystemError("flock", 11).errnoName, "EAGAIN");
    assert.ok(isErrno(new SystemError("ioctl", 95), "ENOTSUP"));
    assert.ok(isErrno(new SystemError("flock", 11), "EWOULDBLOCK"));
  });

  test("has a text for every number, known or not", () => {
    for (let errno = 1; errno < 140; errno += 1) {
      assert.match(new SystemError("call", errno).message, /^call: .*\S \((?:E[A-Z0-9]+|errno \d+)\)$/);
    }
    assert.match(new SystemError("read", 117).message, /structure needs cleaning \(EUCLEAN\)/);
    assert.doesNotMatch(new SystemError("ioctl", 95).message, /socket/);
  });

  test("is what node:fs throws, within withSystemErrors", () => {
    assert.throws(
      () => withSystemErrors(() => openSync("/there/is/none", "r")),
      (error) =>
        error instanceof SystemError &&
        error.errno === 2 &&
        error.syscall === "open" &&
        error.path === "/there/is/none",
    );
  });
});

describe("isErrno", () => {
  test("knows the errors of node:fs", () => {
    try {
      mkdirSync("/proc");
      assert.fail("made /proc");
    } catch (error) {
      assert.ok(isErrno(error, "ENOENT", "EEXIST"));
      assert.ok(!isErrno(error, "ENOENT"));
    }
  });

  test("is false for everything else", () => {
    for (const value of [
      undefined,
      null,
      "ENOENT",
      { errno: -2 },
      new Error("ENOENT"),
      new OneholdError("system", "x"),
    ]) {
      assert.ok(!isErrno(value, "ENOENT"));
      assert.equal(toSystemError(value), value);
    }
    assert.ok(!isErrno(new SystemError("open", 2), "ENOSUCHNAME"));
  });
});
