import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { endOf } from "#fixtures/programs.ts";

/** A module that makes a fixture (`call`, of that file) and prints one of its properties. */
export function fixtureScript(file: string, call: string, property = "path"): string {
  const path = JSON.stringify(join(import.meta.dirname, "../fixtures", file));
  return `import { ${call.slice(0, call.indexOf("("))} } from ${path};
    await using fixture = await ${call};
    console.log(fixture.${property});`;
}

/** Starts a process that owns a fixture until it is killed. */
export async function startFixture(file: string, call: string, property: string) {
  const script = `${fixtureScript(file, call, property)}\nawait new Promise(() => setInterval(() => {}, 1000));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [printed] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const kill = async () => {
    child.kill("SIGKILL");
    await endOf(child);
  };
  return { printed, kill };
}

/** Whether that comes true within ten seconds. */
export async function soon(isTrue: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await isTrue()) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}
