import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { endOf, runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { checkRepository } from "#stores/composefs/check.ts";
import { createRepository, defaultSettings } from "#stores/composefs/repository.ts";
import { clearStaging } from "#stores/composefs/staging.ts";
import { sweepRepository } from "#stores/composefs/sweep.ts";
import { addImage, tarOfFiles } from "./images.ts";

const script = join(import.meta.dirname, "publish-one.ts");
const settings = { ...defaultSettings, verity: "no" } as const;

test("objects are on the disk before they have their names, names before links, links before tags", async () => {
  await using folder = await makeTemporaryFolder("composefs-order");
  const repository = createRepository(join(folder.path, "composefs"), settings);
  const trace = join(folder.path, "trace");
  const calls = "syncfs,fsync,rename,renameat2,symlink,symlinkat,linkat";
  await runProgram("strace", ["-f", "-e", `trace=${calls}`, "-o", trace, process.execPath, script, repository.path]);
  const order: string[] = [];
  for (const line of readFileSync(trace, "utf8").split("\n")) {
    const what = stepOf(line);
    if (what !== undefined && what !== order.at(-1)) order.push(what);
  }
  assert.deepEqual(order, ["sync", "object", "sync", "link", "sync", "tag", "sync of the tag's folder"]);
});

function stepOf(line: string): string | undefined {
  if (/ syncfs\(/.test(line)) return "sync";
  if (/ fsync\(/.test(line)) return "sync of the tag's folder";
  // Within the staging folder nothing counts.
  const renamed = / rename(?:at2)?\(.*"([^"]+)"[^"]*\)? *=? *\d*$/.exec(
    line.replace(/, (?:RENAME_NOREPLACE)\).*/, ")"),
  )?.[1];
  if (renamed === undefined) return undefined;
  if (/\/objects\//.test(renamed)) return "object";
  if (/\/refs\//.test(renamed)) return "tag";
  return /\/(?:streams|images)\//.test(renamed) ? "link" : undefined;
}

test("killed anywhere, a repository stays valid, and the next one finishes", { timeout: 120_000 }, async (t) => {
  await using folder = await makeTemporaryFolder("composefs-killed");
  const repository = createRepository(join(folder.path, "composefs"), settings);
  await addImage(repository, { tag: "before", layers: [tarOfFiles("before")] });
  const whole = await publish("whole", Infinity);
  const rounds = 6;
  let killed = 0;
  for (let i = 0; i < rounds; i++) {
    const after = (whole.took * (i + 1)) / rounds;
    if ((await publish(`os:${i}`, after)).killed) killed++;
    assert.deepEqual((await checkRepository(repository)).problems, [], `killed after ${after} ms`);
  }
  t.diagnostic(`${killed} of ${rounds} were killed within ${whole.took} ms`);
  assert.ok(killed > 0);
  clearStaging(repository);
  await addImage(repository, { tag: "os:0", layers: [tarOfFiles("after")] });
  await sweepRepository(repository, { dryRun: false });
  assert.deepEqual((await checkRepository(repository)).problems, []);
  assert.deepEqual(readdirSync(repository.path).toSorted(), ["images", "meta.json", "objects", "streams"]);

  /** Lets a process add an image, and kills it after so many milliseconds. */
  async function publish(tag: string, after: number): Promise<{ killed: boolean; took: number }> {
    const child = spawn(process.execPath, [script, repository.path, tag, "3"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = endOf(child);
    await once(child.stdout, "data");
    child.stdout.resume();
    const begun = performance.now();
    if (after !== Infinity) await sleep(after).then(() => child.kill("SIGKILL"));
    const { signal } = await ended;
    return { killed: signal === "SIGKILL", took: performance.now() - begun };
  }
});
