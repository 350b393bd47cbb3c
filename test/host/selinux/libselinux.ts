import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "#fixtures/programs.ts";
import { type ContextFileName, contextFileNames, type ContextFiles } from "#formats/file-contexts.ts";
import type { FileType } from "#formats/file-contexts-lines.ts";

export interface Question {
  readonly path: string;
  readonly type: FileType;
}

const modes: Readonly<Record<FileType, string>> = {
  "-": "file",
  d: "dir",
  l: "link",
  p: "pipe",
  c: "chr_file",
  b: "blk_file",
  s: "sock_file",
};

/** What libselinux says, in the questions' order; `<<none>>` where it has no label. */
export async function askLibselinux(folder: string, questions: readonly Question[]): Promise<string[]> {
  const answers: string[] = [];
  for (const [type, mode] of Object.entries(modes)) {
    const asked = [...questions.keys()].filter((i) => questions[i]?.type === type);
    for (let start = 0; start < asked.length; start += 2000) {
      const some = asked.slice(start, start + 2000);
      const paths = some.map((i) => questions[i]?.path ?? "");
      const printed = await runProgram("matchpathcon", [
        "-n",
        "-m",
        mode,
        "-f",
        join(folder, "file_contexts"),
        ...paths,
      ]);
      const labels = printed.split("\n");
      for (const [position, i] of some.entries()) answers[i] = labels[position] ?? "nothing";
    }
  }
  return answers;
}

export function readContextFiles(folder: string): ContextFiles {
  const there = contextFileNames.filter((name) => existsSync(join(folder, name)));
  return new Map<ContextFileName, Buffer>(there.map((name) => [name, readFileSync(join(folder, name))]));
}
