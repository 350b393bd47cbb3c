import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";

test("no module loads the binding to the C library before a system call asks for it", async () => {
  const folder = new URL("../../../src/linux/", import.meta.url);
  const modules = readdirSync(folder).filter((name) => name.endsWith(".ts"));
  assert.ok(modules.includes("libc.ts"));
  const script = `
    for (const name of ${JSON.stringify(modules)}) await import(new URL(name, ${JSON.stringify(folder.href)}));
    const loaded = () => /koffi[^/]*\\.node/.test(fs.readFileSync("/proc/self/maps", "utf8"));
    const before = loaded();
    (await import(new URL("descriptor.ts", ${JSON.stringify(folder.href)}))).openAt(-100, "/", 0);
    console.log(before, loaded());
  `;
  const printed = await runProgram(process.execPath, [
    "--input-type=module",
    "-e",
    `import fs from "node:fs";${script}`,
  ]);
  assert.equal(printed.trim(), "false true");
});
