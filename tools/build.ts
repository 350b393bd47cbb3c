/**
 * Makes dist/ (the bundle: one file for the start, one for each part that is loaded later, one for each
 * worker) and bin/onehold (the launcher).
 */
import { execFileSync } from "node:child_process";
import { globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { build, type BuildOptions, type Plugin } from "esbuild";

const root = dirname(import.meta.dirname);
const dist = join(root, "dist");

/**
 * To import one of Node's modules runs all its getters, and loads what stands behind them, which takes a fifth
 * of the time of `--version`. Asked for in another way, a module loads what is used. Only for what every start
 * loads: commander and src/cli. Commander starts programs for subcommands that are files of their own; ours are not.
 */
const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup(builder) {
    builder.onResolve({ filter: /^node:/ }, ({ path, importer }) =>
      /\/node_modules\/commander\/|\/src\/cli\//.test(importer) ? { path, namespace: "builtin" } : undefined,
    );
    builder.onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => {
      const value = path === "node:child_process" ? "{}" : `process.getBuiltinModule(${JSON.stringify(path)})`;
      return { contents: `module.exports = ${value};` };
    });
  },
};

/** The start of the program is a file of its own, as old versions of Node.js must be able to read it. */
const programApart: Plugin = {
  name: "program-apart",
  setup(builder) {
    builder.onResolve({ filter: /^\.\/program\.ts$/ }, () => ({ path: "./program.mjs", external: true }));
  },
};

const common = {
  absWorkingDir: root,
  outdir: dist,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  format: "esm",
  platform: "node",
  sourcemap: "linked",
  sourcesContent: false,
  write: false,
  logLevel: "warning",
} as const satisfies BuildOptions;

const main = await build({
  ...common,
  entryPoints: { onehold: "src/cli/main.ts" },
  target: "node18",
  plugins: [programApart],
});
const workers = globSync("src/workers/*.ts", { cwd: root });
const program = await build({
  ...common,
  entryPoints: [
    { in: "src/cli/program.ts", out: "program" },
    ...workers.map((path) => ({ in: path, out: `workers/${basename(path, ".ts")}` })),
  ],
  splitting: true,
  chunkNames: "chunk-[hash]",
  target: "node26",
  // Its native part is found beside its own package.
  external: ["koffi"],
  plugins: [lazyBuiltins],
});

// What others load comes first.
const outputs = [...program.outputFiles, ...main.outputFiles].toSorted((a, b) => order(a.path) - order(b.path));
const changed = outputs.filter(({ path, contents }) => writeIfChanged(path, contents));
removeOthers(new Set(outputs.map(({ path }) => path)));
const launcher = join(root, "bin/onehold");
writeIfChanged(launcher, readFileSync(join(root, "tools/launcher.sh")), 0o755);
if (changed.length > 0) renewCompileCache();

function order(path: string): number {
  return basename(path).startsWith("chunk-") ? 0 : 1;
}

/**
 * Whole or not at all, since a program that runs now may load a file of the bundle at any time. Returns
 * whether it wrote.
 */
function writeIfChanged(path: string, contents: Uint8Array, mode = 0o644): boolean {
  if (readIfThere(path)?.equals(contents) === true) return false;
  mkdirSync(dirname(path), { recursive: true });
  const unfinished = join(dirname(path), `.${basename(path)}.${process.pid}`);
  writeFileSync(unfinished, contents, { mode });
  renameSync(unfinished, path);
  return true;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** What an older build left. */
function removeOthers(wanted: ReadonlySet<string>): void {
  for (const path of globSync("**/*.mjs{,.map}", { cwd: dist }).map((name) => join(dist, name))) {
    if (!wanted.has(path)) rmSync(path, { force: true });
  }
}

/** Filled here, as an installed Onehold's may be on a read-only file system. */
function renewCompileCache(): void {
  rmSync(join(dist, ".compile-cache"), { recursive: true, force: true });
  execFileSync(launcher, ["--help"], { stdio: ["ignore", "ignore", "inherit"] });
}
