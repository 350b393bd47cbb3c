import { type ByteString, byteString, displayBytes, isUtf8 } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";

/** The type of a file, as selabel_file(5) writes it: regular, directory, symlink, FIFO, character or block device, socket. */
export type FileType = "-" | "d" | "l" | "p" | "c" | "b" | "s";

/** A line of a file_contexts file. */
export interface ContextRule {
  readonly pattern: ByteString;
  /** The only type that it is for; any where there is none. */
  readonly type: FileType | undefined;
  /** Without NUL; none for `<<none>>`. */
  readonly label: ByteString | undefined;
  /** For people: the file and the line. */
  readonly where: string;
}

/** A line of a file_contexts.subs file: what is below `alias` is labelled as if it were below `original`. */
export interface Substitution {
  readonly alias: ByteString;
  readonly original: ByteString;
}

/** Whose rules of reading apply: the program's that labels. */
export type Reader = "libselinux" | "composefs";

/** Fedora's policy has 0.5 MB. */
export const maxContextsSize = 4 << 20;
/** Bytes. libselinux refuses longer expressions, and reads longer lines of substitutions in pieces. */
const maxRuleLine = 4095;
const maxSubstitutionLine = 1000;
/** Debian has 6,000 rules in all, and 20 substitutions. */
const maxRules = 100_000;
const maxSubstitutions = 2000;

/** @throws OneholdError "corrupt" where the program would refuse the file; "unsupported" where a bound is exceeded */
export function parseRules(bytes: Buffer, name: string, reader: Reader): ContextRule[] {
  const rules: ContextRule[] = [];
  for (const { words, where } of lines(bytes, name, reader, maxRuleLine)) {
    const [pattern, second, third, ...rest] = words;
    if (pattern === undefined || second === undefined) throw malformed(where, "has no label");
    const typed = reader === "libselinux" ? third !== undefined : second.startsWith("-");
    const label = typed ? third : second;
    if (label === undefined) throw malformed(where, "has no label");
    if (reader === "composefs" && (rest.length > 0 || (third !== undefined && !typed))) {
      throw malformed(where, "has more than a path, a type and a label");
    }
    demandAscii(where, [pattern, second, label]);
    rules.push({
      pattern,
      type: typed ? fileType(second, where) : undefined,
      label: label === "<<none>>" ? undefined : label,
      where,
    });
    if (rules.length > maxRules) throw new OneholdError("unsupported", `${name} has more than ${maxRules} rules`);
  }
  return rules;
}

/** @throws OneholdError as `parseRules` */
export function parseSubstitutions(bytes: Buffer, name: string, reader: Reader): Substitution[] {
  const found: Substitution[] = [];
  for (const { words, where } of lines(bytes, name, reader, maxSubstitutionLine)) {
    const [alias, original, ...rest] = words;
    if (alias === undefined) continue;
    if (reader === "composefs" && (original === undefined || rest.length > 0)) {
      throw malformed(where, "is not two paths");
    }
    if (original === undefined) continue;
    found.push({ alias, original });
    if (found.length > maxSubstitutions) {
      throw new OneholdError("unsupported", `${name} has more than ${maxSubstitutions} substitutions`);
    }
  }
  return found;
}

interface Line {
  readonly words: readonly ByteString[];
  readonly where: string;
}

/** Lines that are neither empty nor comments. */
function* lines(bytes: Buffer, name: string, reader: Reader, limit: number): Iterable<Line> {
  if (bytes.length > maxContextsSize) throw new OneholdError("unsupported", `${name} has ${bytes.length} bytes`);
  const text = byteString(bytes);
  if (text.includes("\0")) throw malformed(name, "has a NUL");
  if (reader === "composefs" && !isUtf8(text)) throw malformed(name, "is not UTF-8");
  let number = 0;
  for (const line of text.split("\n")) {
    const where = `line ${++number} of ${name}`;
    if (line.length > limit) throw new OneholdError("unsupported", `${where} has more than ${limit} bytes`);
    const words = (line.match(word) ?? []) as ByteString[];
    if (words.length > 0 && words[0]?.startsWith("#") !== true) yield { words, where };
  }
}

const word = /[^\t-\r ]+/g;
const types = /^-[-dlpcbs]$/;

function fileType(text: ByteString, where: string): FileType {
  if (!types.test(text)) throw malformed(where, `has the file type ${displayBytes(text)}, which there is not`);
  return text.slice(1) as FileType;
}

function demandAscii(where: string, words: readonly ByteString[]): void {
  // oxlint-disable-next-line no-control-regex -- ASCII begins with control characters
  if (!words.every((each) => /^[\u0000-\u007f]*$/.test(each))) throw malformed(where, "is not ASCII");
}

function malformed(where: string, how: string): OneholdError {
  return new OneholdError("corrupt", `${where} ${how}`, {
    hint: "The image's SELinux policy is damaged: ask whoever publishes the image.",
  });
}
