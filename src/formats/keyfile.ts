import { OneholdError } from "#base/errors.ts";

/**
 * A key file as GLib's GKeyFile reads it: ostree's repository config, the origin of a deployment,
 * prepare-root.conf.
 */
export interface Keyfile {
  /** The value as text, escapes undone; undefined where the group or the key is missing. @throws OneholdError "corrupt" */
  get(group: string, key: string): string | undefined;
  /** `true` or `1`, `false` or `0`. @throws OneholdError "corrupt" for anything else */
  boolean(group: string, key: string): boolean | undefined;
  /** In the order of the file. */
  groups(): string[];
  /** In the order of the file; none where the group is missing. */
  keys(group: string): string[];
}

/** Characters. Real key files have a few hundred. */
const maxLength = 1 << 20;

/**
 * A group that comes twice is one group, of a key that comes twice the last value counts, values for a
 * language (`key[de]`) are passed over.
 * @throws OneholdError "corrupt"; `subject` names the file there
 */
export function parseKeyfile(text: string, subject = "a key file"): Keyfile {
  if (text.length > maxLength) throw new OneholdError("corrupt", `${subject} has more than ${maxLength} characters`);
  const groups = parseGroups(text, subject);
  const raw = (group: string, key: string) => groups.get(group)?.get(key);
  return {
    get(group, key) {
      const value = raw(group, key);
      return value === undefined ? undefined : unescape(value, `${key} of [${group}] in ${subject}`);
    },
    boolean(group, key) {
      const value = raw(group, key);
      return value === undefined ? undefined : parseBoolean(value, `${key} of [${group}] in ${subject}`);
    },
    groups: () => [...groups.keys()],
    keys: (group) => [...(groups.get(group)?.keys() ?? [])],
  };
}

function parseGroups(text: string, subject: string): Map<string, Map<string, string>> {
  const groups = new Map<string, Map<string, string>>();
  let current: Map<string, string> | undefined;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const content = line.replace(leadingSpace, "");
    if (content === "" || content.startsWith("#")) continue;
    const where = `line ${index + 1} of ${subject}`;
    const group = groupLine.exec(content)?.[1];
    if (group !== undefined) {
      current = groups.get(group) ?? new Map();
      groups.set(group, current);
      continue;
    }
    const [, key, language, value] = pairLine.exec(content) ?? [];
    if (key === undefined || value === undefined) {
      throw new OneholdError("corrupt", `${where} is neither a group nor a key with a value nor a comment`);
    }
    if (current === undefined) throw new OneholdError("corrupt", `${where} stands before the first group`);
    if (language === undefined) current.set(key, value);
  }
  return groups;
}

const leadingSpace = /^[ \t\f\r]+/;
// oxlint-disable-next-line no-control-regex -- GLib allows none in a group's name
const groupLine = /^\[([^[\]\x00-\x1f\x7f]+)\][ \t]*$/;
/** Key, language, value. GLib takes nearly every character into a key, spaces too. */
const pairLine = /^([^=[\]]*[^=[\] \t\f\r])(?:\[([-\w.@]+)\])?[ \t\f\r]*=[ \t\f\r]*(.*)$/s;

const escapes: ReadonlyMap<string, string> = new Map([
  ["\\s", " "],
  ["\\n", "\n"],
  ["\\t", "\t"],
  ["\\r", "\r"],
  ["\\\\", "\\"],
]);

function unescape(value: string, what: string): string {
  return value.replace(/\\.?/gs, (escape) => {
    const character = escapes.get(escape);
    if (character === undefined) throw new OneholdError("corrupt", `${what} has the unknown escape ${escape}`);
    return character;
  });
}

function parseBoolean(value: string, what: string): boolean {
  const word = value.trimEnd();
  if (word === "true" || word === "1") return true;
  if (word === "false" || word === "0") return false;
  throw new OneholdError("corrupt", `${what} is ${JSON.stringify(value)}, not true or false`);
}
