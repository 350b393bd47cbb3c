import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { withSystemErrors } from "#linux/system-error.ts";
import { Attempts } from "./attempts.ts";
import { type BootEntry, readBootEntries } from "./boot-entry.ts";
import { type DeploymentName, parseDeploymentName, staterootOfLink } from "./deployment-name.ts";
import { kernelArgument } from "./kernel-arguments.ts";
import { type Origin, parseOrigin } from "./origin.ts";
import { type RunningHost, runningHost } from "./running-host.ts";
import { readLink, readSmallFile } from "./small-file.ts";
import { parseStaged } from "./staged.ts";

/** A version of the host that can be booted. */
export interface Deployment extends DeploymentName {
  /** Its root file system, as an absolute path. */
  readonly directory: string;
  /** undefined: it has none, or one that can't be read. */
  readonly origin: Origin | undefined;
  readonly kernelArguments: readonly string[];
  /** The running host was booted from it. */
  readonly booted: boolean;
  /** It gets its boot entry at shutdown. */
  readonly staged: boolean;
  /** Staged, but not to be finished at shutdown: only downloaded. */
  readonly locked: boolean;
  /** What was made writable in it, and until when: the next boot for all but `hotfix`. */
  readonly unlocked: "none" | "development" | "hotfix" | "transient";
}

export interface BootState {
  /** In boot order: the first is what the next boot takes. `ostree admin` numbers them so. */
  readonly deployments: readonly Deployment[];
  /**
   * What could not be read. libostree refuses a sysroot with such entries, so that whoever changes deployments, or
   * removes what none needs, must stop where there is one; whoever shows them shows the others.
   */
  readonly problems: readonly OneholdError[];
}

/**
 * The deployments of a sysroot, by its boot entries, as libostree finds them. Takes no lock and writes nothing.
 * `hostRoot` is where the running host is: `/`, elsewhere in tests.
 */
export function readDeployments(sysroot: string, hostRoot: string): BootState {
  const attempts = new Attempts();
  const running = attempts.try(() => runningHost(sysroot, hostRoot));
  // Where /boot is a file system of its own, the sysroot's own folder of that name is empty.
  const boot = path.join(running?.root ?? sysroot, "boot");
  for (let retries = 5; ; retries -= 1) {
    const stamp = stampOf(sysroot, boot);
    const state = readOnce(sysroot, boot, running);
    if (state.problems.length === 0 || retries === 0 || stampOf(sysroot, boot) === stamp) {
      return { ...state, problems: [...attempts.failures, ...state.problems] };
    }
  }
}

/** Differs where libostree has made other entries, or other links to deployments, the ones in effect. */
function stampOf(sysroot: string, boot: string): string {
  const links = [path.join(boot, "loader"), ...["boot.0", "boot.1"].map((name) => path.join(sysroot, "ostree", name))];
  const attempts = new Attempts();
  return links.map((link) => attempts.try(() => readLink(link)) ?? "").join("\0");
}

function readOnce(sysroot: string, boot: string, running: RunningHost | undefined): BootState {
  const attempts = new Attempts();
  const bootable = (attempts.try(() => readBootEntries(boot, attempts)) ?? []).flatMap(
    (entry) => attempts.try(() => deploymentOf(sysroot, entry, attempts)) ?? [],
  );
  if (running === undefined) return { deployments: bootable, problems: attempts.failures };
  const booted = attempts.try(() => findBooted(sysroot, running, bootable));
  const stagedFile = path.join(running.root, "run/ostree/staged-deployment");
  const staged = attempts.try(() => stagedDeployment(sysroot, stagedFile, attempts), stagedFile);
  const deployments = [...(staged === undefined ? [] : [staged]), ...bootable].map((deployment) => ({
    ...deployment,
    booted: deployment === booted,
    unlocked: unlockedNow(running, deployment),
  }));
  return { deployments, problems: attempts.failures };
}

function deploymentOf(sysroot: string, entry: BootEntry, attempts: Attempts): Deployment {
  const argument = entry.options === undefined ? undefined : kernelArgument(entry.options, "ostree");
  if (argument === undefined) {
    throw new OneholdError("corrupt", `the boot entry ${entry.file} has no kernel argument ostree=`, {
      subject: entry.file,
    });
  }
  return {
    ...described(sysroot, followLink(sysroot, argument, entry.file), attempts),
    kernelArguments: entry.options ?? [],
    staged: false,
    locked: false,
  };
}

/** libostree lists it first, since it will be the next to boot. */
function stagedDeployment(sysroot: string, file: string, attempts: Attempts): Deployment | undefined {
  const bytes = readSmallFile(file);
  if (bytes === undefined) return undefined;
  const { kernelArguments, locked, ...name } = parseStaged(bytes, file);
  return {
    ...described(sysroot, name, attempts),
    kernelArguments,
    staged: true,
    locked: locked || fs.existsSync(`${file}-locked`),
  };
}

type Described = DeploymentName & Pick<Deployment, "directory" | "origin" | "booted" | "unlocked">;

/** What its own files say. */
function described(sysroot: string, name: DeploymentName, attempts: Attempts): Described {
  const directory = directoryOf(sysroot, name);
  if (!withSystemErrors(() => fs.statSync(directory, { throwIfNoEntry: false }))?.isDirectory()) {
    throw new OneholdError("corrupt", `the deployment ${directory} is not there`, {
      subject: directory,
    });
  }
  const file = `${directory}.origin`;
  const origin = attempts.try(() => readOrigin(file), file);
  return { ...name, directory, origin, booted: false, unlocked: origin?.hotfix === true ? "hotfix" : "none" };
}

function directoryOf(sysroot: string, { stateroot, checksum, serial }: DeploymentName): string {
  return path.join(sysroot, "ostree/deploy", stateroot, "deploy", `${checksum}.${serial}`);
}

function readOrigin(file: string): Origin | undefined {
  const bytes = readSmallFile(file);
  return bytes === undefined ? undefined : parseOrigin(bytes.toString("utf8"), file);
}

/** `where` names the file that has the argument. */
function followLink(sysroot: string, argument: string, where: string): DeploymentName {
  const stateroot = staterootOfLink(argument);
  if (stateroot === undefined) {
    throw new OneholdError("corrupt", `${where} has ostree=${argument}, which is not the path of a deployment`, {
      subject: where,
    });
  }
  const file = path.join(sysroot, argument);
  const target = readLink(file);
  const name = parseDeploymentName(path.basename(target ?? ""));
  if (name !== undefined) return { ...name, stateroot };
  const why = target === undefined ? "is not there" : `leads to ${JSON.stringify(target)}, which is no deployment`;
  throw new OneholdError("corrupt", `${file}, which ${where} names, ${why}`, { subject: file });
}

/**
 * As libostree does, by the directory that is the root now: the symlink that the kernel was told of may have been
 * made anew since. Where the root is mounted from something else, the symlink tells.
 */
function findBooted(sysroot: string, running: RunningHost, deployments: readonly Deployment[]): Deployment {
  const { argument, place } = running;
  const byPlace = deployments.find(({ directory }) => {
    const { dev, ino } = withSystemErrors(() => fs.statSync(directory, { bigint: true }));
    return dev === place.device && ino === place.inode;
  });
  if (byPlace !== undefined) return byPlace;
  if (argument === undefined) throw notAmongThem(sysroot, "its root");
  const wanted = directoryOf(sysroot, followLink(sysroot, argument, path.join(running.root, "proc/cmdline")));
  const byArgument = deployments.find(({ directory }) => directory === wanted);
  if (byArgument !== undefined) return byArgument;
  throw notAmongThem(sysroot, argument);
}

function notAmongThem(sysroot: string, booted: string): OneholdError {
  return new OneholdError("corrupt", `this host was booted from ${booted}, which is no deployment of ${sysroot}`, {
    subject: sysroot,
  });
}

function unlockedNow(running: RunningHost, deployment: Deployment): Deployment["unlocked"] {
  const { checksum, serial, unlocked } = deployment;
  const state = path.join(running.root, "run/ostree/deployment-state", `${checksum}.${serial}`);
  if (fs.existsSync(path.join(state, "unlocked-development"))) return "development";
  return fs.existsSync(path.join(state, "unlocked-transient")) ? "transient" : unlocked;
}
