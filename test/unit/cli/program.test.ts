import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { ready, runFakeProgram, shellFakeProgram, startFakeProgram } from "./run-fake-program.ts";

const atOnce = { concurrency: 2 };

/** What the fake verb got, which it prints. */
async function received(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await runFakeProgram(...args, "--json");
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe("help", atOnce, () => {
  test("of the program: every verb, on stdout", async () => {
    for (const flag of ["--help", "-h"]) {
      const { status, stdout, stderr } = await runFakeProgram(flag);
      assert.deepEqual([status, stderr], [0, ""]);
      const verbs = stdout
        .matchAll(/^ {2}((?:image |container |install |internals (?:composefs )?)?[a-z][a-z-]*)(?: [A-Z]+)* {2,}\S/gm)
        .map(([, verb]) => verb);
      assert.deepEqual(
        new Set(verbs),
        new Set([
          ..."init usage gc status upgrade switch rollback".split(" "),
          "install to-filesystem",
          ...["pull", "list", "pin", "unpin", "remove"].map((verb) => `image ${verb}`),
          ...["mount", "umount"].map((verb) => `internals ${verb}`),
          ...["dump", "info", "fsck", "mkfs"].map((verb) => `internals composefs ${verb}`),
          "container compute-composefs-digest",
        ]),
      );
    }
  });

  test("of a verb: its own options, those of every verb, an example", async () => {
    const { status, stdout } = await runFakeProgram("image", "pull", "--help");
    assert.equal(status, 0);
    assert.match(stdout, /^Usage: onehold image pull REF \[OPTIONS\]\n/);
    const options = stdout.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm).map(([, option]) => option);
    assert.deepEqual(
      [...options],
      [
        "--pin",
        "--host",
        "--source",
        "--allow-copy",
        "--allow-verity",
        "--tls-verify",
        "--format",
        "--json",
        "--help",
        "--sysroot",
        "--progress-fd",
        "--quiet",
      ],
    );
    assert.match(stdout, /--tls-verify\[=BOOL\]/);
    assert.match(stdout, /\nExample:\n {2}onehold image pull \S+ --pin\n$/);
  });

  test("loads nothing but commander and the declarations", () => {
    const program = fileURLToPath(new URL("../../../src/cli/program.ts", import.meta.url));
    const script = `
      import { registerHooks } from "node:module";
      registerHooks({ load: (url, context, next) => (console.error(url), next(url, context)) });
      const { runProgram } = await import(${JSON.stringify(program)});
      await runProgram(["image", "pull", "--help"]);`;
    const { stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    const files = stderr.matchAll(/^file:.*\/(?:src|node_modules)\/(.*)$/gm).map(([, file]) => file ?? "");
    const ours = [...files].filter((file) => !file.startsWith("commander/"));
    assert.deepEqual(ours.toSorted(), [
      "cli/container-verbs.ts",
      "cli/help.ts",
      "cli/host-verbs.ts",
      "cli/install-verbs.ts",
      "cli/internals-verbs.ts",
      "cli/options.ts",
      "cli/paint.ts",
      "cli/program.ts",
      "cli/update-verbs.ts",
      "cli/verb-declaration.ts",
      "cli/verbs.ts",
      "cli/version.ts",
    ]);
  });

  test("the version", async () => {
    const { status, stdout } = await runFakeProgram("--version");
    assert.equal(status, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });
});

describe("wrong usage is one line and where to look, and exit status 2", atOnce, () => {
  const mistakes: [string, string, string][] = [
    ["imge list", "unknown command 'imge' (did you mean image?)", "onehold"],
    ["pull x", "unknown command 'pull' (did you mean 'image pull'?)", "onehold"],
    ["image pul x", "unknown command 'pul' (did you mean pull?)", "onehold image"],
    ["image pull", "missing required argument 'REF'", "onehold image pull"],
    ["image pull a b", "too many arguments for 'pull'. Expected 1 argument but got 2: a, b.", "onehold image pull"],
    ["image pull a --pn", "unknown option '--pn' (did you mean --pin?)", "onehold image pull"],
    ["usage --sysrot x", "unknown option '--sysrot' (did you mean --sysroot?)", "onehold usage"],
    [
      "image pull a --tls-verify=maybe",
      "option '--tls-verify' argument 'maybe' is invalid. It is true or false.",
      "onehold image pull",
    ],
    [
      "init --backend btrfs",
      "option '--backend' argument 'btrfs' is invalid. Allowed choices are ostree, composefs, both.",
      "onehold init",
    ],
    ["image list --json --format yaml", "option '--json' cannot be used with option '--format'", "onehold image list"],
    [
      "usage --progress-fd 2",
      "option '--progress-fd' argument '2' is invalid. It is the number of an open descriptor, 3 or more.",
      "onehold",
    ],
    [
      "usage --progress-fd 3x",
      "option '--progress-fd' argument '3x' is invalid. It is the number of an open descriptor, 3 or more.",
      "onehold",
    ],
  ];
  for (const [line, message, verb] of mistakes) {
    test(line, async () => {
      const { status, stdout, stderr } = await runFakeProgram(...line.split(" "));
      assert.deepEqual([status, stdout], [2, ""]);
      assert.equal(stderr, `error: ${message}\nhint: See '${verb} --help'.\n`);
    });
  }

  test("no verb at all shows the help, on stderr", async () => {
    for (const args of [[], ["image"]]) {
      const { status, stdout, stderr } = await runFakeProgram(...args);
      assert.deepEqual([status, stdout], [2, ""]);
      assert.match(stderr, /^Usage: onehold /);
    }
  });

  test("that only the verb can see", async () => {
    const { status, stderr } = await runFakeProgram("image", "pull", "is-misused");
    assert.equal(status, 2);
    assert.equal(stderr, "error: that is no image\nhint: See 'onehold image pull --help'.\n");
  });
});

describe("options reach the verb", atOnce, () => {
  test("with their defaults", async () => {
    const { verb, options, sysroot, workers } = await received("image", "pull", "os:1");
    assert.equal(verb, "image pull");
    assert.equal(sysroot, "/sysroot");
    assert.match(String(workers), /^file:.*\/src\/workers\/$/);
    const { reference, pin, host, source, allowCopy, tlsVerify } = options as Record<string, unknown>;
    assert.deepEqual(
      { reference, pin, host, source, allowCopy, tlsVerify },
      {
        reference: "os:1",
        pin: false,
        host: false,
        source: "auto",
        allowCopy: false,
        tlsVerify: undefined,
      },
    );
  });

  test("before and after the verb, the image anywhere", async () => {
    const { options, sysroot } = await received(
      "--sysroot",
      "/mnt",
      "image",
      "pull",
      "--pin",
      "--tls-verify",
      "os:1",
      "--source",
      "skopeo",
      "--allow-copy",
      "--host",
    );
    assert.equal(sysroot, "/mnt");
    const { reference, pin, host, source, allowCopy, tlsVerify } = options as Record<string, unknown>;
    assert.deepEqual(
      { reference, pin, host, source, allowCopy, tlsVerify },
      {
        reference: "os:1",
        pin: true,
        host: true,
        source: "skopeo",
        allowCopy: true,
        tlsVerify: true,
      },
    );
    assert.equal((await received("usage", "--sysroot", "relative"))["sysroot"], `${process.cwd()}/relative`);
  });

  test("--tls-verify with a value, and not after --", async () => {
    for (const [value, meant] of [
      ["true", true],
      ["1", true],
      ["T", true],
      ["false", false],
      ["0", false],
      ["False", false],
    ] as const) {
      const { options } = await received("image", "pull", `--tls-verify=${value}`, "os:1");
      assert.equal((options as { tlsVerify?: boolean }).tlsVerify, meant, value);
    }
    const { stdout } = await runFakeProgram("image", "pull", "--json", "--", "--tls-verify");
    assert.equal((JSON.parse(stdout) as { options: { reference: string } }).options.reference, "--tls-verify");
  });

  test("every verb runs its own implementation", async () => {
    for (const verb of ["init", "image list", "image pin x", "image unpin x", "image remove x", "usage"]) {
      const { stdout } = await runFakeProgram(...verb.split(" "));
      assert.equal(stdout, `did ${verb.replace(" x", "")}\n`);
    }
  });
});

describe("output", atOnce, () => {
  test("--format json, yaml and their short form have the same data", async () => {
    const [json, yaml, short] = await Promise.all(
      [["--format", "json"], ["--format=yaml"], ["--json"]].map((format) => runFakeProgram("usage", ...format)),
    );
    const data = JSON.parse(json?.stdout ?? "") as { options: object };
    assert.equal((data as { verb?: string }).verb, "usage");
    const own = (value: unknown): unknown => ({ ...(value as object), options: undefined });
    assert.deepEqual(own(parse(yaml?.stdout ?? "")), own(data));
    assert.deepEqual(own(JSON.parse(short?.stdout ?? "")), own(data));
  });

  test("--quiet keeps warnings and the text of a verb that changes something, not results that were asked for", async () => {
    const outputs = await Promise.all(
      ["image pull warns", "image pin x", "image list", "image pin x --json"].map(async (line) => {
        const { status, stdout, stderr } = await runFakeProgram(...line.split(" "), "--quiet");
        return [status, stdout.slice(0, 7), stderr];
      }),
    );
    assert.deepEqual(outputs, [
      [0, "", ""],
      [0, "", ""],
      [0, "did ima", ""],
      [0, '{\n  "ve', ""],
    ]);
    assert.equal((await runFakeProgram("image", "pull", "warns")).stderr, "warning: little space\n");
    assert.match((await runFakeProgram("image", "pull", "fails", "--quiet")).stderr, /^error: no such image\n/);
  });

  test("a reader that has seen enough is no failure, a full disk is", () => {
    const head = shellFakeProgram('set -o pipefail; "$@" | head -1', "image", "pull", "prints-much");
    assert.deepEqual([head.status, head.stdout, head.stderr], [0, "a line of text\n", ""]);
    const full = shellFakeProgram('"$@" > /dev/full', "image", "pull", "prints-much");
    assert.equal(full.status, 1);
    assert.match(full.stderr, /^error: can't write the output: ENOSPC.*\n$/);
  });

  test("progress goes to stderr, as lines where that is no terminal", async () => {
    const { status, stdout, stderr } = await runFakeProgram("image", "pull", "progresses");
    assert.deepEqual([status, stdout], [0, ""]);
    assert.equal(stderr.split("\n")[0], "Pulling localhost:5000/os:1: 1 layer, 100 B");
    assert.match(stderr, /^Deploying the image: done\n$/m);
  });
});

describe("failures", atOnce, () => {
  test("say what failed and what to do, with exit status 1", async () => {
    const { status, stdout, stderr } = await runFakeProgram("image", "pull", "fails", "--json");
    assert.deepEqual([status, stdout], [1, ""]);
    assert.equal(stderr, "error: no such image\nhint: Look at 'onehold image list'.\n");
  });

  test("bugs show where", async () => {
    const { status, stderr } = await runFakeProgram("image", "pull", "has-a-bug");
    assert.equal(status, 1);
    assert.match(stderr, /^error: TypeError: x is undefined\n {4}at .*fake-program\.ts/);
  });
});

describe("signals", atOnce, () => {
  const stops = [
    ["SIGINT", "waits", 130, "error: interrupted by Ctrl-C\n"],
    ["SIGTERM", "waits", 143, "error: interrupted by SIGTERM\n"],
    ["SIGTERM", "waits-in-node", 143, "error: interrupted by SIGTERM\n"],
  ] as const;
  for (const [signal, image, status, message] of stops) {
    test(`${signal} lets a verb that ${image} end by itself`, async () => {
      const running = startFakeProgram(["image", "pull", image]);
      await ready(running);
      running.child.kill(signal);
      const outcome = await running.outcome;
      assert.deepEqual([outcome.status, outcome.signal], [status, null]);
      assert.ok(outcome.stderr.endsWith(`Stopping; a second time ends it at once.\n${message}`), outcome.stderr);
    });
  }

  test("the second one ends it at once", async () => {
    const running = startFakeProgram(["image", "pull", "does-not-listen"]);
    await ready(running);
    running.child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(running.child.exitCode, null);
    running.child.kill("SIGTERM");
    assert.equal((await running.outcome).status, 143);
  });
});
