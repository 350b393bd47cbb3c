import { parse } from "smol-toml";
import * as v from "valibot";
import { messageOf, OneholdError } from "#base/errors.ts";
import { splitKernelArguments } from "./kernel-arguments.ts";

/** A file of an image's `usr/lib/bootc/kargs.d`, by its name there. */
export interface KernelArgumentFile {
  readonly name: string;
  readonly text: string;
}

/** Bytes. Real ones have a few lines. */
export const maxKernelArgumentFile = 1 << 20;

const schema = v.strictObject({
  kargs: v.array(v.string()),
  /** As Rust names them: `x86_64`, `aarch64`. None: all. */
  "match-architectures": v.optional(v.array(v.string())),
});

/** Rust's names of the processors that Node runs on, which is how bootc compares them. */
const architectures: Readonly<Record<string, string>> = {
  x64: "x86_64",
  arm64: "aarch64",
  ppc64: "powerpc64",
  s390x: "s390x",
  riscv64: "riscv64",
};

/**
 * What an image wants on the kernel's command line: of files that end in `.toml`, in the order of their names, those
 * for this processor, one argument each. `architecture`: as Node names it.
 * @throws OneholdError "corrupt" where a file is not as bootc would read it
 */
export function kernelArgumentsOf(files: readonly KernelArgumentFile[], architecture: string): string[] {
  const name = architectures[architecture] ?? architecture;
  return files
    .filter((file) => file.name.endsWith(".toml"))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((file) => {
      const { kargs, "match-architectures": wanted } = parseFile(file);
      return wanted === undefined || wanted.includes(name) ? kargs.flatMap(splitArguments) : [];
    });
}

/**
 * What a new version boots with: what the old one does, without what only the old image wants and with what only the
 * new one does. What libostree adds by itself is left out.
 */
export function updateArguments(
  current: readonly string[],
  { before, after }: { readonly before: readonly string[]; readonly after: readonly string[] },
): string[] {
  const gone = new Set(before).difference(new Set(after));
  const added = after.filter((argument) => !before.includes(argument));
  const kept = current.filter(
    (argument) => !gone.has(argument) && !/^(?:ostree=|init=\/ostree\/boot\.)/.test(argument),
  );
  return [...kept, ...added];
}

/** Bytes that the kernel takes on x86-64 and arm64 (COMMAND_LINE_SIZE), without what libostree adds at the end. */
const maxCommandLine = 2048 - 300;

/**
 * A kernel cuts a command line that is too long, and with it what finds its root.
 * @throws OneholdError "unsupported"
 */
export function demandShortCommandLine(args: readonly string[]): void {
  const length = Buffer.byteLength(args.join(" "));
  if (length <= maxCommandLine) return;
  throw new OneholdError(
    "unsupported",
    `the kernel arguments have ${length} bytes, and the kernel takes ${maxCommandLine}`,
    {
      hint: "Leave some out: `--karg`, or files in usr/lib/bootc/kargs.d of the image.",
    },
  );
}

/**
 * The arguments in a text, where they can stand in a boot entry.
 * @throws OneholdError "usage"
 */
export function splitArguments(text: string): string[] {
  // oxlint-disable-next-line no-control-regex -- a line end would begin another key of the boot entry
  if (!/[\u0000-\u0008\u000a-\u001f\u007f]/.test(text)) return splitKernelArguments(text);
  throw new OneholdError("usage", `${JSON.stringify(text)} can't be on the kernel's command line`, {
    hint: "An argument has no line ends and no control characters.",
  });
}

function parseFile({ name, text }: KernelArgumentFile): v.InferOutput<typeof schema> {
  const subject = `usr/lib/bootc/kargs.d/${name}`;
  try {
    return v.parse(schema, parse(text));
  } catch (cause) {
    throw new OneholdError("corrupt", `the image's ${subject} can't be used: ${messageOf(cause)}`, {
      subject,
      cause,
      hint: 'It is TOML with the keys kargs = ["…"] and, where wanted, match-architectures = ["x86_64"].',
    });
  }
}
