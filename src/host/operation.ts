import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { openFile } from "#linux/descriptor.ts";
import { lock } from "#linux/locks.ts";
import { clearJournal, type JournalEntry, readJournal, writeJournal } from "./journal.ts";
import { recover } from "./recovery.ts";
import { explainFullDisk } from "./space.ts";
import { makeStateDirectories, type Sysroot } from "./sysroot.ts";

/** What every use case that writes is given. */
export interface HostContext {
  readonly sysroot: Sysroot;
  readonly report: ReportProgress;
  readonly signal: AbortSignal;
  /** The folder with the entry points of worker threads. */
  readonly workers: URL;
  /** Where the running host is: `/`, elsewhere in tests. */
  readonly hostRoot: string;
}

/** The one operation that may change a sysroot at a time. */
export interface Operation {
  /** Says in the journal how far it came. */
  stage(name: string): void;
  /** Before a program writes into the image store without syncing: `layersBefore` are safe. */
  markUnclean(layersBefore: readonly string[]): void;
  /** After what it wrote was synced. */
  markClean(): void;
}

/** A test names a stage here, and the process is gone as by SIGKILL when that stage is reached. */
const killAt = process.env["ONEHOLD_KILL_AT"];

/**
 * Runs `work` as the sysroot's only writing operation: waits for another one to end, clears what a killed one
 * left, keeps the journal. The lock dies with the process.
 */
export async function runOperation<T>(
  context: HostContext,
  what: { verb: string; subject?: string },
  work: (operation: Operation) => Promise<T>,
): Promise<T> {
  const { sysroot, report, signal } = context;
  refuseReadOnly(sysroot);
  makeStateDirectories(sysroot);
  using file = openFile(sysroot.state.lock, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  await lock(file.fd, "exclusive", {
    what: `the sysroot ${sysroot.path}`,
    signal,
    onWait: () => {
      const other = readJournal(sysroot);
      const name =
        other === undefined
          ? "another operation"
          : `\`${[other.verb, other.subject].join(" ").trim()}\` (pid ${other.pid})`;
      report({ kind: "notice", level: "info", text: `waiting for ${name} to end` });
    },
  });
  await recover(context);
  let entry: JournalEntry = {
    version: 1,
    ...what,
    pid: process.pid,
    started: new Date().toISOString(),
    stage: "started",
  };
  const write = (change: Partial<JournalEntry>) => {
    entry = { ...entry, ...change };
    writeJournal(sysroot, entry);
  };
  write({});
  const result = await work({
    stage(name) {
      write({ stage: name });
      if (killAt === name) process.kill(process.pid, "SIGKILL");
    },
    markUnclean: (layersBefore) => write({ unclean: { layersBefore: [...layersBefore] } }),
    markClean() {
      const { unclean: _, ...rest } = entry;
      entry = rest;
      writeJournal(sysroot, entry);
    },
  }).catch(async (error: unknown) => {
    // Before anything is cleared: it tells what is left.
    const explained = explainFullDisk(error, sysroot.path);
    // What a failed operation left is cleared at once; what can't be, the next one clears.
    await recover(context, { quiet: true });
    throw explained;
  });
  clearJournal(sysroot);
  return result;
}

function refuseReadOnly(sysroot: Sysroot): void {
  try {
    fs.accessSync(sysroot.path, fs.constants.W_OK);
  } catch (cause) {
    throw new OneholdError("unsupported", `the sysroot ${sysroot.path} can't be written to`, {
      subject: sysroot.path,
      cause,
      hint: "Run as root, on a file system that is mounted read-write.",
    });
  }
}
