import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { constants, fstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { endOf, tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { OneholdError } from "#base/errors.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { lock, tryFlock, tryLock, unflock, unlock } from "#linux/locks.ts";
import { isErrno } from "#linux/system-error.ts";

const { O_CREAT, O_RDONLY, O_RDWR } = constants;

interface LockFile extends AsyncDisposable {
  readonly path: string;
  open(flags?: number): Descriptor;
}

async function makeLockFile(): Promise<LockFile> {
  const folder: TemporaryFolder = await makeTemporaryFolder("locks");
  const path = join(folder.path, "lock");
  writeFileSync(path, "");
  return {
    path,
    open: (flags = O_RDWR | O_CREAT) => openFile(path, flags),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** A program that says "held" once it holds a lock, and ends when it is killed or its stdin ends. */
async function hold(program: string, args: readonly string[]): Promise<ChildProcess & AsyncDisposable> {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = endOf(child);
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  assert.equal(said.toString().trim(), "held");
  return Object.assign(child, {
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  });
}

/** A classic POSIX lock of another process, as containers/storage takes them. struct flock as on 64-bit Linux. */
const posixLock = `use Fcntl; open F, "+<", $ARGV[0] or die; my %k = (shared => F_RDLCK, exclusive => F_WRLCK);
fcntl(F, F_SETLK, pack("s s x4 q q i x4", $k{$ARGV[1]}, 0, 0, 0, 0)) or do { print "refused\\n"; exit 3 };
$| = 1; print "held\\n"; <STDIN>;`;

const tryPosixLock = async (path: string, kind: string) =>
  (await tryProgram("perl", ["-e", posixLock, path, kind])).stdout.trim();

describe("locks by fcntl", () => {
  test("exclude other open files, shared and exclusive", async () => {
    await using file = await makeLockFile();
    using a = file.open();
    using b = file.open();
    assert.ok(tryLock(a.fd, "shared") && tryLock(b.fd, "shared"));
    assert.ok(!tryLock(a.fd, "exclusive"));
    unlock(b.fd);
    assert.ok(tryLock(a.fd, "exclusive"));
    assert.ok(!tryLock(b.fd, "shared"));
    unlock(a.fd);
    assert.ok(tryLock(b.fd, "exclusive"));
  });

  test("are of the open file: the kernel lists them so, and closing it ends them", async () => {
    await using file = await makeLockFile();
    using other = file.open();
    {
      using held = file.open();
      assert.ok(tryLock(held.fd, "exclusive"));
      const { ino } = fstatSync(held.fd);
      const line = readFileSync("/proc/locks", "utf8")
        .split("\n")
        .find((text) => text.includes(`:${ino} `));
      assert.match(line ?? "", /OFDLCK\s+ADVISORY\s+WRITE\s.*:\d+ 0 EOF$/);
      file.open()[Symbol.dispose]();
      assert.ok(!tryLock(other.fd, "shared"), "closing another descriptor of the file changes nothing");
    }
    assert.ok(tryLock(other.fd, "exclusive"));
  });

  test("exclude POSIX locks of other programs, and are excluded by them", async () => {
    await using file = await makeLockFile();
    using ours = file.open();
    assert.ok(tryLock(ours.fd, "shared"));
    assert.equal(await tryPosixLock(file.path, "exclusive"), "refused");
    assert.equal(await tryPosixLock(file.path, "shared"), "held");
    unlock(ours.fd);
    await using theirs = await hold("perl", ["-e", posixLock, file.path, "shared"]);
    assert.ok(theirs.pid !== undefined && tryLock(ours.fd, "shared") && !tryLock(ours.fd, "exclusive"));
  });

  test("a file not open for writing can't be locked exclusively", async () => {
    await using file = await makeLockFile();
    using readOnly = file.open(O_RDONLY);
    assert.ok(tryLock(readOnly.fd, "shared"));
    assert.throws(
      () => tryLock(readOnly.fd, "exclusive"),
      (error) => isErrno(error, "EBADF") && String(error).includes(file.path),
    );
  });
});

describe("waiting for a lock", () => {
  test("ends when the holder dies, and is announced once", async () => {
    await using file = await makeLockFile();
    await using holder = await hold("perl", ["-e", posixLock, file.path, "exclusive"]);
    using ours = file.open();
    let announced = 0;
    const taken = lock(ours.fd, "exclusive", { what: "the test", onWait: () => (announced += 1) });
    const early = await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 150, "still waiting"))]);
    assert.equal(early, "still waiting");
    holder.kill("SIGKILL");
    await taken;
    assert.equal(announced, 1);
    assert.equal(await tryPosixLock(file.path, "shared"), "refused");
  });

  test("is none where the lock is free", async () => {
    await using file = await makeLockFile();
    using ours = file.open();
    await lock(ours.fd, "shared", { what: "the test", onWait: () => assert.fail("waited"), timeoutMs: 0 });
  });

  test("ends after its time, with what is in use", async () => {
    await using file = await makeLockFile();
    using holder = file.open();
    using ours = file.open();
    assert.ok(tryLock(holder.fd, "exclusive"));
    const started = performance.now();
    await assert.rejects(lock(ours.fd, "shared", { what: "the store at /x", timeoutMs: 100 }), (error) => {
      return (
        error instanceof OneholdError && error.code === "busy" && error.message.startsWith("the store at /x is in use")
      );
    });
    assert.ok(performance.now() - started >= 95);
  });

  test("can be interrupted, also before it begins", async () => {
    await using file = await makeLockFile();
    using holder = file.open();
    using ours = file.open();
    assert.ok(tryLock(holder.fd, "exclusive"));
    const controller = new AbortController();
    const waiting = lock(ours.fd, "shared", { what: "the store", signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    const isInterruption = (error: unknown) => error instanceof OneholdError && error.code === "interrupted";
    await assert.rejects(waiting, isInterruption);
    unlock(holder.fd);
    await assert.rejects(lock(ours.fd, "shared", { what: "the store", signal: controller.signal }), isInterruption);
    assert.ok(tryLock(holder.fd, "exclusive"), "it was not taken");
  });
});

describe("locks by flock", () => {
  test("exclude those of the program flock", async () => {
    await using file = await makeLockFile();
    using ours = file.open();
    const flock = async (mode: string) => (await tryProgram("flock", [mode, "--nonblock", file.path, "true"])).status;
    assert.ok(tryFlock(ours.fd, "shared"));
    assert.deepEqual([await flock("--shared"), await flock("--exclusive")], [0, 1]);
    assert.ok(tryFlock(ours.fd, "exclusive"));
    assert.equal(await flock("--shared"), 1);
    unflock(ours.fd);
    assert.equal(await flock("--exclusive"), 0);
    await using theirs = await hold("flock", ["--shared", file.path, "sh", "-c", "echo held; read line"]);
    assert.ok(theirs.pid !== undefined && tryFlock(ours.fd, "shared") && !tryFlock(ours.fd, "exclusive"));
  });

  test("know nothing of those by fcntl", async () => {
    await using file = await makeLockFile();
    using a = file.open();
    using b = file.open();
    assert.ok(tryLock(a.fd, "exclusive") && tryFlock(b.fd, "exclusive"));
  });
});
