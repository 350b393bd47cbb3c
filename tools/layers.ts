/**
 * The direction in which the folders of src/ may depend on each other, read from the import lines. The
 * compiler's project references and the lint's fences say the same, sooner and in the editor; this also
 * knows Node's own modules, and who may print.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface SourceFile {
  /** From the project's folder: `src/host/pull.ts`. */
  readonly path: string;
  readonly text: string;
}

/** A folder imports only from folders with a lower number, and from itself. */
export const layers: Readonly<Record<string, number>> = {
  base: 0,
  formats: 1,
  linux: 1,
  sharing: 2,
  image: 2,
  "stores/containers-storage": 3,
  "stores/ostree": 3,
  "stores/composefs": 3,
  sources: 3,
  boot: 3,
  host: 4,
  cli: 5,
  workers: 5,
};

/** Modules that only some folders may import, and what the others do instead. */
const fences: readonly { module: RegExp; onlyIn: readonly string[]; instead: string }[] = [
  { module: /^koffi$/, onlyIn: ["linux"], instead: "system calls belong into src/linux" },
  { module: /^node:child_process$/, onlyIn: ["linux"], instead: "start programs with #linux/child.ts" },
  { module: /^node:worker_threads$/, onlyIn: ["linux"], instead: "use #linux/worker-pool.ts" },
  { module: /^node:fs\/promises$/, onlyIn: [], instead: "file work is synchronous: use node:fs or #linux/…" },
  {
    module: /^node:fs$/,
    onlyIn: [
      "linux",
      "sharing",
      "stores/containers-storage",
      "stores/ostree",
      "stores/composefs",
      "sources",
      "boot",
      "host",
      "cli",
    ],
    instead: "this folder does no I/O: take bytes, give values",
  },
  { module: /^commander$/, onlyIn: ["cli"], instead: "the command line is known in src/cli alone" },
];

interface Import {
  readonly specifier: string;
  readonly kind: "value" | "type" | "dynamic";
}

/** Every violation in these files, as a line for people. */
export function checkLayers(files: readonly SourceFile[]): string[] {
  return [...files.flatMap(checkFile), ...findCycles(files)];
}

function checkFile(file: SourceFile): string[] {
  const folder = folderOf(file.path);
  if (folder === undefined) return [`${file.path}: is in none of the folders that tools/layers.ts knows`];
  const complaints = importsOf(file.text).map((imported) => checkImport(file, folder, imported));
  if (folder !== "cli") complaints.push(checkPrinting(file));
  return complaints.flatMap((complaint) => (complaint === undefined ? [] : [`${file.path}: ${complaint}`]));
}

function checkImport(file: SourceFile, folder: string, { specifier, kind }: Import): string | undefined {
  if (file.path === "src/cli/main.ts" && kind === "value" && !/^node:|^\.\/node-version\.ts$/.test(specifier)) {
    return `imports ${specifier} before it has checked the version of Node.js`;
  }
  const target = resolve(file.path, specifier);
  if (target === undefined) {
    const fence = fences.find(({ module }) => module.test(specifier));
    return fence === undefined || fence.onlyIn.includes(folder) ? undefined : `imports ${specifier}: ${fence.instead}`;
  }
  const targetFolder = folderOf(target);
  if (targetFolder === undefined) return `imports ${specifier}, which is not in a folder of src/`;
  if (targetFolder === folder) {
    return specifier.startsWith("#") ? `imports ${specifier} of its own folder: write ./ instead` : undefined;
  }
  if (!specifier.startsWith("#")) return `imports ${specifier} of another folder: write #${targetFolder}/… instead`;
  const [own = NaN, other = NaN] = [layers[folder], layers[targetFolder]];
  if (other < own) return undefined;
  return `imports ${specifier}: ${folder} (layer ${own}) must not know ${targetFolder} (layer ${other})`;
}

function checkPrinting({ text }: SourceFile): string | undefined {
  const found = /^(?!\s*(?:\/\/|\*)).*(?<![#.\w])(process\.std(?:out|err)|console)\b/m.exec(text);
  return found === null ? undefined : `uses ${found[1]}: only src/cli prints; report progress or throw instead`;
}

/** The folder of the table above that a file of src/ is in. */
function folderOf(path: string): string | undefined {
  return Object.keys(layers).find((folder) => path.startsWith(`src/${folder}/`));
}

/** The file that is meant; undefined for packages and Node's own modules. */
function resolve(path: string, specifier: string): string | undefined {
  if (specifier.startsWith("#")) return `src/${specifier.slice(1)}`;
  return specifier.startsWith(".") ? join(dirname(path), specifier) : undefined;
}

const statement = /^(?:import\s+(type\s)?(?:[^"';]*?\sfrom\s+)?|export\s+(type\s+)?[{*][^"';]*?\sfrom\s+)"([^"]+)"/gm;
const dynamicImport = /^(?!\s*(?:\/\/|\*)).*\bimport\(\s*"([^"]+)"/gm;

function importsOf(text: string): Import[] {
  return [
    ...[...text.matchAll(statement)].map(
      ([, importType, exportType, specifier = ""]): Import => ({
        specifier,
        kind: (importType ?? exportType) === undefined ? "value" : "type",
      }),
    ),
    ...[...text.matchAll(dynamicImport)].map(([, specifier = ""]): Import => ({ specifier, kind: "dynamic" })),
  ];
}

/** Files that load each other: the order in which they run would depend on who comes first. */
function findCycles(files: readonly SourceFile[]): string[] {
  const graph = new Map(
    files.map(({ path, text }) => [
      path,
      importsOf(text).flatMap(({ specifier, kind }) => (kind === "value" ? (resolve(path, specifier) ?? []) : [])),
    ]),
  );
  const finished = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, above: readonly string[]): void => {
    if (above.includes(path)) cycles.push([...above.slice(above.indexOf(path)), path].join(" → "));
    else if (!finished.has(path)) for (const next of graph.get(path) ?? []) visit(next, [...above, path]);
    finished.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles.map((cycle) => `these files import each other: ${cycle}`);
}

/** All of src/, below the project's folder. */
export function readSources(root: string): SourceFile[] {
  return globSync("src/**/*.ts", { cwd: root })
    .toSorted()
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

if (import.meta.main) {
  const complaints = checkLayers(readSources(dirname(import.meta.dirname)));
  for (const complaint of complaints) console.error(complaint);
  process.exitCode = complaints.length === 0 ? 0 : 1;
}
