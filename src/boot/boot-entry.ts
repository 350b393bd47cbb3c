import path from "node:path";
import type { Attempts } from "./attempts.ts";
import { splitKernelArguments } from "./kernel-arguments.ts";
import { namesIn, readSmallFile } from "./small-file.ts";

/** An entry of the boot menu (Boot Loader Specification, type 1), as far as libostree looks at it. */
export interface BootEntry {
  /** Where it stands. */
  readonly file: string;
  /** libostree's order: the highest is booted first. */
  readonly version: string | undefined;
  /** undefined: it has none, which no entry of libostree's lacks. */
  readonly options: readonly string[] | undefined;
}

/**
 * libostree's entries below `boot`, the directory with `loader`, in the order in which libostree has a boot loader
 * try them. Those of other programs are passed over.
 */
export function readBootEntries(boot: string, attempts: Attempts): BootEntry[] {
  const folder = path.join(boot, "loader", "entries");
  const files = namesIn(folder).filter((name) => /^ostree-.*\.conf$/s.test(name));
  return files
    .flatMap((name) => attempts.try(() => readBootEntry(path.join(folder, name))) ?? [])
    .toSorted((a, b) => compareVersions(b.version, a.version));
}

function readBootEntry(file: string): BootEntry | undefined {
  const bytes = readSmallFile(file);
  return bytes === undefined ? undefined : parseBootEntry(bytes.toString("utf8"), file);
}

/** Lines of a key, blanks and a value. As in libostree, a line that begins with no letter says nothing, and the last of a key counts. */
function parseBootEntry(text: string, file: string): BootEntry {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^([a-zA-Z][^ \t]*)[ \t]+(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, value.trim());
  }
  const options = values.get("options");
  return {
    file,
    version: values.get("version"),
    options: options === undefined ? undefined : splitKernelArguments(options),
  };
}

/** Versions of libostree's are numbers; an entry without one comes last. */
function compareVersions(a: string | undefined, b: string | undefined): number {
  const [first, second] = [a, b].map((version) => (version === undefined ? -1 : Number(version)));
  if (Number.isFinite(first) && Number.isFinite(second)) return (first ?? 0) - (second ?? 0);
  return Number((a ?? "") > (b ?? "")) - Number((a ?? "") < (b ?? ""));
}
