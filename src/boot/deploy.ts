import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { findProgram, ProgramError, run } from "#linux/child.ts";

/** Where libostree's program works: no lock of ours on `ostree/lock` or on the repository may be held meanwhile. */
export interface OstreeSysroot {
  readonly path: string;
  readonly signal: AbortSignal;
}

export interface DeployRequest {
  readonly stateroot: string;
  /** In the sysroot's repository. */
  readonly commit: string;
  /** The text of the origin file. */
  readonly origin: string;
  /** All of them: none come from elsewhere. */
  readonly kernelArguments: readonly string[];
  /** Whether /etc has the changes of the deployment that boots now. */
  readonly merges: boolean;
  /** A folder of ours for the origin file. */
  readonly temporary: string;
}

/** The names that a folder below ostree/deploy can have, and that libostree puts into boot entries unquoted. */
const staterootPattern = /^[A-Za-z0-9][\w.-]{0,63}$/;

/** @throws OneholdError "usage" */
export function demandStaterootName(name: string): void {
  if (staterootPattern.test(name)) return;
  throw new OneholdError("usage", `${JSON.stringify(name)} can't be the name of a stateroot`, {
    hint: "It begins with a letter or digit; letters, digits, dots, dashes and underscores follow; 64 at most.",
  });
}

/** @throws OneholdError "program-missing", before anything is written */
export function demandOstree(): void {
  if (findProgram("ostree") !== undefined) return;
  throw new OneholdError("program-missing", "ostree, which deploys images, is not installed (not found in PATH)", {
    subject: "ostree",
    hint: "Install the package ostree.",
  });
}

/**
 * Makes a stateroot with the /var that the commit has, and what libostree wants there besides. libostree itself fills
 * it with the first deployment, but only in newer releases, and only where it is empty. Nothing may be there yet.
 * `hasVariable`: whether the commit has a /var at all.
 */
export async function makeStateroot(
  sysroot: OstreeSysroot,
  name: string,
  { commit, hasVariable }: { readonly commit: string; readonly hasVariable: boolean },
): Promise<void> {
  for (const folder of ["boot", "ostree/deploy"]) {
    fs.mkdirSync(path.join(sysroot.path, folder), { recursive: true, mode: 0o755 });
  }
  const what = `making the stateroot ${name}`;
  await ostree(sysroot, ["admin", "os-init", `--sysroot=${sysroot.path}`, name], what);
  if (!hasVariable) return;
  const variable = path.join(sysroot.path, "ostree/deploy", name, "var");
  const filled = path.join(sysroot.path, "ostree/deploy", name, "var.new");
  const repository = `--repo=${path.join(sysroot.path, "ostree/repo")}`;
  // Files of its own, for they will be written to; where the file system can, they share blocks until then.
  await ostree(sysroot, ["checkout", repository, "--force-copy", "--subpath=/var", commit, filled], what);
  const there = new Set(fs.readdirSync(filled));
  for (const each of fs.readdirSync(variable).filter((known) => !there.has(known))) {
    fs.renameSync(path.join(variable, each), path.join(filled, each));
  }
  fs.rmSync(variable, { recursive: true });
  fs.renameSync(filled, variable);
}

/**
 * Deploys a commit as the first, or default, deployment of a stateroot, at once: checks it out, merges /etc, fills an
 * empty /var, copies the kernel and writes the boot entry. Nothing is pruned: libostree would wait for our own locks.
 */
export async function deployCommit(sysroot: OstreeSysroot, request: DeployRequest): Promise<void> {
  const origin = path.join(request.temporary, "origin");
  fs.writeFileSync(origin, request.origin, { mode: 0o644 });
  // `--karg` would replace an earlier argument of the same name: `console=` may come twice.
  const kernelArguments = request.kernelArguments.map((argument) => `--karg-append=${argument}`);
  const options = [`--os=${request.stateroot}`, `--origin-file=${origin}`, "--no-prune"];
  if (!request.merges) options.push("--no-merge");
  const place = `--sysroot=${sysroot.path}`;
  const args = ["admin", "deploy", place, ...options, "--karg-none", ...kernelArguments, request.commit];
  await ostree(sysroot, args, `deploying ${request.commit}`);
  fs.unlinkSync(origin);
}

/**
 * Has libostree remove what no boot entry names, give each deployment the refs that keep its commit, and prune what
 * no ref keeps.
 */
export async function cleanUpDeployments(sysroot: OstreeSysroot): Promise<void> {
  await ostree(sysroot, ["admin", "cleanup", `--sysroot=${sysroot.path}`], "cleaning up deployments");
}

/**
 * Has a deployment boot next, by its place in the boot order. libostree cleans up, too.
 * @throws OneholdError "unsupported" where the program is too old for it
 */
export async function makeDefault(sysroot: OstreeSysroot, index: number): Promise<void> {
  const { stdout } = await run("ostree", ["admin", "--help"], { env: environment(), signal: sysroot.signal });
  if (!/^ *set-default\b/m.test(stdout.toString("utf8"))) {
    throw new OneholdError(
      "unsupported",
      "this release of ostree can't change the boot order: it has no `admin set-default`",
      {
        subject: "ostree",
        hint: "Install a newer one (2026.4 can), or choose the version in the boot loader's menu.",
      },
    );
  }
  const what = "changing the boot order";
  await ostree(sysroot, ["admin", "set-default", `--sysroot=${sysroot.path}`, String(index)], what);
}

async function ostree(sysroot: OstreeSysroot, args: readonly string[], what: string): Promise<void> {
  try {
    await run("ostree", args, { env: environment(), signal: sysroot.signal });
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    throw new OneholdError("program-failed", `${what} failed: ${error.message}`, {
      cause: error,
      subject: sysroot.path,
    });
  }
}

function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" };
}
