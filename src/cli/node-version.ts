const needed = [26, 10] as const;

/**
 * What to tell a user whose Node.js can't run Onehold; undefined where it can. `found` is what
 * `process.versions.node` holds.
 */
export function tooOldNode(found: string): string | undefined {
  const [major = 0, minor = 0] = found.split(".").map(Number);
  if (major > needed[0] || (major === needed[0] && minor >= needed[1])) return undefined;
  return [
    `error: this is Node.js ${found}; Onehold needs Node.js ${needed.join(".")} or newer`,
    "hint: set ONEHOLD_NODE to the path of a newer node, or run `./dev build` in Onehold's source, which brings one",
    "",
  ].join("\n");
}
