import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import * as fc from "fast-check";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import { modernFolder } from "#fixtures/modern-chroot.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import {
  composefsContexts,
  type ContextFileName,
  type FileContexts,
  libselinuxContexts,
} from "#formats/file-contexts.ts";
import { askLibselinux, type Question, readContextFiles } from "./libselinux.ts";
import { debianPolicy } from "./debian-policy.ts";
import { randomPolicy, type RandomPolicy, randomQuestions } from "./random-policies.ts";

before(() => ensurePackages(["selinux-utils", "policycoreutils"]));

async function contextsFolder(): Promise<string> {
  return join(await debianPolicy(), "etc/selinux/default/contexts/files");
}

function answersOf(contexts: FileContexts, questions: readonly Question[]): string[] {
  return questions.map(({ path, type }) => contexts.labelOf(byteStringOfText(path), type) ?? "<<none>>");
}

/** With the questions beside the answers, for a message that helps. */
function beside(questions: readonly Question[], answers: readonly string[]): string[] {
  return questions.map(({ path, type }, i) => `${type} ${path} ${answers[i]}`);
}

/** All of a Debian root. */
async function debianPaths(): Promise<Question[]> {
  const entries = readdirSync(await modernFolder(), { recursive: true, withFileTypes: true });
  const root = await modernFolder();
  return entries.map((entry) => ({
    path: join(entry.parentPath, entry.name).slice(root.length),
    type: entry.isDirectory() ? "d" : entry.isSymbolicLink() ? "l" : "-",
  }));
}

test("all paths of a Debian root have the labels that libselinux gives them by Debian's policy", async () => {
  const folder = await contextsFolder();
  const questions = [{ path: "/", type: "d" } as const, ...(await debianPaths())];
  assert.ok(questions.length > 5000, `${questions.length} paths`);
  const contexts = libselinuxContexts(readContextFiles(folder));
  const start = performance.now();
  const answers = answersOf(contexts, questions);
  const microseconds = ((performance.now() - start) * 1000) / questions.length;
  assert.deepEqual(beside(questions, answers), beside(questions, await askLibselinux(folder, questions)));
  assert.ok(new Set(answers).size > 50, "they are many labels");
  assert.ok(microseconds < 1000, `${microseconds} µs a path`);
});

test("so have paths made of Debian's rules, and paths beside them", async (t) => {
  const folder = await contextsFolder();
  const files = readContextFiles(folder);
  const text = [...files.values()].map(String).join("\n");
  const patterns = text.split("\n").flatMap((line) => /^\/\S+(?=\t)/.exec(line) ?? []);
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const questions = fc.sample(randomQuestions(patterns, "ab0x./-_"), { seed, numRuns: 6000 });
  const answers = answersOf(libselinuxContexts(files), questions);
  assert.deepEqual(
    beside(questions, answers),
    beside(questions, await askLibselinux(folder, questions)),
    `seed ${seed}`,
  );
});

function patternsOf(policy: RandomPolicy): string[] {
  const text = [policy.file_contexts, policy["file_contexts.local"], policy["file_contexts.homedirs"]].join("\n");
  return text.split("\n").flatMap((line) => /^[/^.]\S*(?=\t)/.exec(line) ?? []);
}

function filesOf(policy: RandomPolicy): Map<ContextFileName, Buffer> {
  const entries = Object.entries(policy) as [ContextFileName, string | undefined][];
  return new Map(entries.flatMap(([name, text]) => (text === undefined ? [] : [[name, Buffer.from(text)]])));
}

test("random policies are read as libselinux does", async (t) => {
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  for (const [number, policy] of fc.sample(randomPolicy, { seed, numRuns: 60 }).entries()) {
    await using folder = await makeTemporaryFolder("selinux-random");
    const files = filesOf(policy);
    for (const [name, bytes] of files) writeFileSync(join(folder.path, name), bytes);
    const questions = fc.sample(randomQuestions(patternsOf(policy), "abc/.\n"), { seed: seed + number, numRuns: 80 });
    const expected = await askLibselinux(folder.path, questions);
    const answers = answersOf(libselinuxContexts(files), questions);
    const which = `policy ${number} of seed ${seed}:\n${JSON.stringify(policy)}`;
    assert.deepEqual(beside(questions, answers), beside(questions, expected), which);
  }
});

/** What facts about composefs-rs say, with JavaScript's expressions, which mean the same where they are not hostile. */
function askComposefs(policy: RandomPolicy, questions: readonly Question[]): string[] {
  const text = [policy.file_contexts, policy["file_contexts.local"], policy["file_contexts.homedirs"]].join("\n");
  const rules = text.split("\n").flatMap((line) => {
    const [expression, ...rest] = line.split("\t");
    if (expression === undefined || rest.length === 0) return [];
    const escaped = expression.replaceAll("[]b]", "[\\]b]");
    return [
      {
        expression: new RegExp(`^(?:${escaped})$`, "s"),
        type: rest.length > 1 ? rest[0] : undefined,
        label: rest.at(-1),
      },
    ];
  });
  return questions.map(({ path, type }) => {
    const last = rules.findLast((rule) => (rule.type ?? `-${type}`) === `-${type}` && rule.expression.test(path));
    return last?.label ?? "<<none>>";
  });
}

test("random policies are read as composefs-rs does: the last rule that matches wins", (t) => {
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  for (const [number, policy] of fc.sample(randomPolicy, { seed, numRuns: 100 }).entries()) {
    const questions = fc.sample(randomQuestions(patternsOf(policy), "abc/.\n"), { seed: seed + number, numRuns: 80 });
    const answers = answersOf(composefsContexts(filesOf(policy)), questions);
    const which = `policy ${number} of seed ${seed}:\n${JSON.stringify(policy)}`;
    assert.deepEqual(beside(questions, answers), beside(questions, askComposefs(policy, questions)), which);
  }
});

test("composefs-rs's substitutions", () => {
  const contexts = composefsContexts(
    filesOf({
      file_contexts: "/.*\tany_t\n/t/.*\tt_t\n/v/w\tw_t\n",
      "file_contexts.subs": "/a /u\n/t/deep /v\n",
      "file_contexts.subs_dist": "  /a   /t  \n# /b /t\n/c /\n/d /t/\n",
    }),
  );
  const walk = (...names: string[]) => {
    const path = names.map(byteStringOfText).reduce(contexts.childPath.bind(contexts), "/" as ByteString);
    return [path, contexts.labelOf(path, "-")];
  };
  assert.deepEqual(walk("a"), ["/t", "any_t"], ".subs_dist replaces .subs");
  assert.deepEqual(walk("a", "x"), ["/t/x", "t_t"]);
  assert.deepEqual(
    walk("a", "deep", "w"),
    ["/v/w", "w_t"],
    "what a substitution made is one more time looked up below",
  );
  assert.deepEqual(walk("b", "x"), ["/b/x", "any_t"]);
  assert.deepEqual(walk("c", "v"), ["/v", "any_t"]);
  assert.deepEqual(walk("c", "a"), ["/t", "any_t"]);
  assert.deepEqual(walk("d", "x"), ["/t/x", "t_t"]);
});
