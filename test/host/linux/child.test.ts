import assert from "node:assert/strict";
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { tryProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { OneholdError } from "#base/errors.ts";
import { findProgram, ProgramError, run, start } from "#linux/child.ts";

const sh = (script: string, options: Parameters<typeof run>[2] = {}) => run("sh", ["-c", script], options);
const hasCode = (code: string) => (error: unknown) => error instanceof OneholdError && error.code === code;

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<void> {
  const deadline = performance.now() + 3000;
  while (isRunning(pid)) {
    assert.ok(performance.now() < deadline, `process ${pid} still runs`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("a program that succeeds", () => {
  test("gives its stdout and stderr", async () => {
    const { stdout, stderr, durationMs } = await sh("printf 'a\\000b'; printf c >&2; sleep 0.05");
    assert.deepEqual([stdout, stderr], [Buffer.from("a\0b"), Buffer.from("c")]);
    assert.ok(durationMs >= 45 && durationMs < 5000);
  });

  test("gets input, or none", async () => {
    const input = Buffer.alloc(3_000_000, "0123456789");
    assert.ok((await run("cat", [], { input })).stdout.equals(input));
    assert.equal((await run("readlink", ["/proc/self/fd/0"])).stdout.toString().trim(), "/dev/null");
    await run("true", [], { input });
  });

  test("gets its folder, its environment alone, and its arguments as they are", async () => {
    assert.equal((await run("pwd", [], { cwd: "/usr" })).stdout.toString(), "/usr\n");
    const path = process.env["PATH"];
    assert.equal((await run("env", [], { env: { PATH: path, X: "y" } })).stdout.toString(), `PATH=${path}\nX=y\n`);
    assert.equal((await run("printf", ["%s|", "a b", "*", "", "--"])).stdout.toString(), "a b|*||--|");
  });

  test("gets descriptors by number", async () => {
    await using folder = await makeTemporaryFolder("child");
    const paths = ["three", "six"].map((name) => join(folder.path, name));
    const [three = -1, six = -1] = paths.map((path) => openSync(path, "w"));
    await sh("echo 3 >&3; echo 6 >&6; test ! -e /proc/$$/fd/4", { stdio3: three, extraFds: { 6: six } });
    for (const fd of [three, six]) {
      fstatSync(fd);
      closeSync(fd);
    }
    assert.deepEqual(
      paths.map((path) => readFileSync(path, "utf8")),
      ["3\n", "6\n"],
    );
  });

  test("hands its output over as it comes", async () => {
    const seen: string[] = [];
    const { stdout } = await sh("echo one; sleep 0.1; echo two; echo three >&2", {
      onStdout: (chunk) => seen.push(chunk.toString()),
      onStderr: (chunk) => seen.push(chunk.toString()),
      maxOutput: 2,
    });
    assert.deepEqual([seen[0], seen.slice(1).toSorted(), stdout.length], ["one\n", ["three\n", "two\n"], 0]);
  });
});

describe("a program that fails", () => {
  test("says so, with its last words", async () => {
    await assert.rejects(sh("echo first >&2; printf 'x\\rError: \\033[31mno such image\\n' >&2; exit 125"), (error) => {
      assert.ok(error instanceof ProgramError && error.code === "program-failed");
      assert.equal(error.exitCode, 125);
      assert.equal(error.message, "sh ended with exit status 125: first\nx\nError:  [31mno such image");
      assert.ok(error.stderr.startsWith("first\nx\rError: \u001b[31mno"));
      return true;
    });
  });

  test("by a signal", async () => {
    await assert.rejects(sh("kill -SEGV $$"), (error) => {
      return (
        error instanceof ProgramError && error.message === "sh was killed by SIGSEGV" && error.exitCode === undefined
      );
    });
  });

  test("keeps the end of a long stderr only", async () => {
    await assert.rejects(sh("i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); done >&2; exit 1"), (error) => {
      assert.ok(error instanceof ProgramError);
      assert.ok(error.stderr.length >= 64 * 1024 && error.stderr.length < 200_000);
      return error.message === "sh ended with exit status 1: 39997\n39998\n39999";
    });
  });

  test("is missing", async () => {
    await assert.rejects(run("no-such-program-here", []), (error) => {
      return hasCode("program-missing")(error) && error instanceof OneholdError && /Install/.test(error.hint ?? "");
    });
    assert.throws(() => start("no-such-program-here", []), hasCode("program-missing"));
    await assert.rejects(run("sh", [], { env: { PATH: "/nowhere" } }), hasCode("program-missing"));
  });

  test("prints too much, and is ended", async () => {
    await assert.rejects(run("yes", [], { maxOutput: 100_000 }), (error) => {
      return error instanceof ProgramError && error.message.startsWith("yes printed more than 100000 bytes");
    });
    assert.equal((await sh("printf 12345", { maxOutput: 5 })).stdout.length, 5);
  });

  test("takes too long, and is ended", async () => {
    const started = performance.now();
    await assert.rejects(run("sleep", ["60"], { timeoutMs: 100 }), (error) => {
      return error instanceof ProgramError && error.message === "sleep did not end within 0.1 s";
    });
    assert.ok(performance.now() - started < 4000);
  });

  test("can't be started in a folder that is not there", async () => {
    await assert.rejects(run("true", [], { cwd: "/there/is/none" }), hasCode("system"));
  });

  test("is ended by what its reader throws", async () => {
    const oops = new Error("oops");
    const thrower = () => {
      throw oops;
    };
    await assert.rejects(run("yes", [], { onStdout: thrower }), (error) => error === oops);
    await assert.rejects(sh("echo x >&2; sleep 60", { onStderr: thrower }), (error) => error === oops);
  });
});

describe("a program that is interrupted", () => {
  test("ends with all of its group", async () => {
    const controller = new AbortController();
    let grandchild = 0;
    const onStdout = (chunk: Buffer) => {
      grandchild = Number(chunk.toString());
      controller.abort(new Error("Ctrl-C"));
    };
    const running = sh("sleep 61 & echo $!; wait", { signal: controller.signal, onStdout });
    await assert.rejects(running, (error) => {
      return (
        hasCode("interrupted")(error) &&
        error instanceof Error &&
        error.cause instanceof Error &&
        error.cause.message === "Ctrl-C"
      );
    });
    assert.ok(grandchild > 0);
    await untilGone(grandchild);
  });

  test("is not started at all where the signal came before", async () => {
    await using folder = await makeTemporaryFolder("child");
    const path = join(folder.path, "made");
    await assert.rejects(run("touch", [path], { signal: AbortSignal.abort() }), hasCode("interrupted"));
    assert.throws(() => readFileSync(path), { code: "ENOENT" });
  });

  test("is done for us, whatever it leaves behind", async () => {
    const controller = new AbortController();
    let left = 0;
    // Out of the group, and holding stdout open: no signal of ours reaches it.
    const running = sh("setsid sleep 62 & left=$!; sleep 0.3; echo $left; wait", {
      signal: controller.signal,
      onStdout: (chunk) => {
        left = Number(chunk.toString());
        controller.abort();
      },
    });
    const started = performance.now();
    await assert.rejects(running, hasCode("interrupted"));
    assert.ok(performance.now() - started < 4000);
    assert.ok(isRunning(left));
    process.kill(left, "SIGKILL");
  });
});

describe("a started program", () => {
  test("is read while it runs", async () => {
    await using child = start("sh", ["-c", "echo a; sleep 0.05; echo b"]);
    let text = "";
    for await (const chunk of child.stdout) text += String(chunk);
    const { stdout } = await child.finished;
    assert.deepEqual([text, stdout.length], ["a\nb\n", 0]);
  });

  test("ends with its scope, read or not", async () => {
    let pid: number | undefined;
    {
      await using child = start("yes", []);
      pid = child.pid;
      assert.ok(pid !== undefined && isRunning(pid));
    }
    await untilGone(pid);
  });

  test("can be sent a signal, and what was not awaited harms nobody", async () => {
    const child = start("sleep", ["60"]);
    child.stdout.resume();
    child.kill("SIGUSR1");
    await assert.rejects(child.finished, /sleep was killed by SIGUSR1/);
    child.kill();
    const other = start("false", []);
    other.stdout.resume();
    await new Promise((resolve) => other.stdout.once("close", resolve));
    await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test("dies with us, even where we are killed", async () => {
    await using folder = await makeTemporaryFolder("child");
    const script = join(folder.path, "parent.ts");
    const module = new URL("../../../src/linux/child.ts", import.meta.url);
    writeFileSync(
      script,
      `import { start } from ${JSON.stringify(module.href)};
       const child = start("sh", ["-c", "echo ready; exec sleep 63"]);
       child.stdout.once("data", () => {
         process.stdout.write(String(child.pid), () => process.kill(process.pid, "SIGKILL"));
       });`,
    );
    const ended = await tryProgram(process.execPath, [script]);
    assert.equal(ended.signal, "SIGKILL");
    assert.match(ended.stdout, /^\d+$/);
    await untilGone(Number(ended.stdout));
  });
});

test("programs are found by absolute elements of PATH, and are executable files", async () => {
  await using folder = await makeTemporaryFolder("child");
  const tool = join(folder.path, "tool");
  writeFileSync(tool, "#!/bin/sh\n", { mode: 0o755 });
  writeFileSync(join(folder.path, "text"), "", { mode: 0o644 });
  assert.equal(findProgram("tool", `/nowhere::${folder.path}:/usr/bin`), tool);
  assert.equal(findProgram("text", folder.path), undefined);
  assert.equal(findProgram("tool", ":.:relative"), undefined);
  assert.equal(findProgram(tool), tool);
  assert.equal(findProgram(`${tool}s`), undefined);
  assert.match(findProgram("sh") ?? "", /\/sh$/);
});
