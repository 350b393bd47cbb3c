import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { checkLayers, layers, readSources } from "../../tools/layers.ts";

const root = join(import.meta.dirname, "../..");

function complaintsAbout(path: string, text: string): string[] {
  return checkLayers([{ path, text }]);
}

describe("the direction of imports", () => {
  test("holds in all of src/", () => {
    const sources = readSources(root);
    assert.ok(sources.length > 50, "the files of src/ were not found");
    assert.deepEqual(checkLayers(sources), []);
  });

  test("is what the compiler's project references say", () => {
    for (const [folder, layer] of Object.entries(layers)) {
      const project = readFileSync(join(root, "src", folder, "tsconfig.json"), "utf8");
      const referenced = [...project.matchAll(/"path": "(?:\.\.\/)+([^"]+)"/g)].map(([, name = ""]) => name);
      for (const name of referenced) {
        assert.ok((layers[name] ?? NaN) < layer, `src/${folder}/tsconfig.json refers to ${name}`);
      }
    }
  });
});

const violations: readonly [what: string, path: string, text: string, complaint: RegExp][] = [
  ["upwards", "src/base/a.ts", 'import { b } from "#linux/b.ts";', /layer 0\) must not know linux \(layer 1\)/],
  ["sideways", "src/formats/a.ts", 'import type { B } from "#linux/b.ts";', /must not know linux/],
  [
    "from store to store",
    "src/stores/ostree/a.ts",
    'export * from "#stores/containers-storage/b.ts";',
    /must not know/,
  ],
  ["over several lines", "src/sources/a.ts", 'import {\n  a,\n  b,\n} from "#host/b.ts";', /must not know host/],
  ["for effect only", "src/host/a.ts", 'import "#cli/b.ts";', /must not know cli/],
  ["later", "src/host/a.ts", '  const { b } = await import("#cli/b.ts");', /must not know cli/],
  ["by the wrong name", "src/host/a.ts", 'import { b } from "../base/b.ts";', /write #base\/… instead/],
  ["of its own by the wrong name", "src/host/a.ts", 'import { b } from "#host/b.ts";', /write \.\/ instead/],
  ["of tests", "src/host/a.ts", 'import { b } from "#fixtures/b.ts";', /not in a folder of src/],
  ["of tools", "src/host/a.ts", 'import { b } from "../../tools/b.ts";', /not in a folder of src/],
  ["koffi outside linux", "src/sharing/a.ts", 'import koffi from "koffi";', /belong into src\/linux/],
  ["programs outside linux", "src/sources/a.ts", 'import { spawn } from "node:child_process";', /#linux\/child\.ts/],
  ["threads outside linux", "src/workers/a.ts", 'import { Worker } from "node:worker_threads";', /worker-pool/],
  ["I/O in a codec", "src/formats/a.ts", 'import fs from "node:fs";', /does no I\/O/],
  ["promises of files", "src/host/a.ts", 'import fs from "node:fs/promises";', /synchronous/],
  ["commander outside cli", "src/host/a.ts", 'import { Command } from "commander";', /src\/cli alone/],
  ["too early", "src/cli/main.ts", 'import { runProgram } from "./program.ts";', /before it has checked/],
  ["in an unknown folder", "src/utils/a.ts", "export const a = 1;", /in none of the folders/],
];

describe("a violation is found: an import", () => {
  for (const [what, path, text, complaint] of violations) {
    test(what, () => {
      const [found = "", ...others] = complaintsAbout(path, `${text}\n`);
      assert.match(found, complaint);
      assert.deepEqual(others, []);
    });
  }
});

describe("a violation is found:", () => {
  test("printing outside cli", () => {
    assert.match(complaintsAbout("src/host/a.ts", 'process.stderr.write("x");')[0] ?? "", /only src\/cli prints/);
    assert.match(complaintsAbout("src/linux/a.ts", 'if (x) console.log("x");')[0] ?? "", /only src\/cli prints/);
    assert.deepEqual(complaintsAbout("src/cli/a.ts", 'process.stderr.write("x");'), []);
  });

  test("files that import each other", () => {
    const cycle = [
      { path: "src/host/a.ts", text: 'import { b } from "./b.ts";\n' },
      { path: "src/host/b.ts", text: 'import { c } from "./c.ts";\n' },
      { path: "src/host/c.ts", text: 'import { a } from "./a.ts";\n' },
    ];
    assert.deepEqual(checkLayers(cycle), [
      "these files import each other: src/host/a.ts → src/host/b.ts → src/host/c.ts → src/host/a.ts",
    ]);
  });
});

test("what is allowed is not complained about", () => {
  const allowed: [path: string, text: string][] = [
    [
      "src/host/a.ts",
      'import { a } from "#stores/ostree/a.ts";\nimport fs from "node:fs";\nimport { b } from "./b.ts";\n',
    ],
    ["src/linux/a.ts", 'import koffi from "koffi";\nimport { spawn } from "node:child_process";\n'],
    ["src/cli/verbs/a.ts", 'import { b } from "../b.ts";\nconst { c } = await import("#host/c.ts");\n'],
    ["src/cli/main.ts", 'import { tooOldNode } from "./node-version.ts";\nawait import("./program.ts");\n'],
    [
      "src/base/a.ts",
      '// import("#host/a.ts") would be wrong, and console.log too\nexport const a = "from \\"#host/a.ts\\"";\n',
    ],
    ["src/linux/b.ts", "this.stdout = this.#process.stdout;\n"],
    // Types are gone when the program runs.
    ["src/host/b.ts", 'import type { C } from "./b.ts";\n'],
  ];
  for (const [path, text] of allowed) assert.deepEqual(complaintsAbout(path, text), []);
});
